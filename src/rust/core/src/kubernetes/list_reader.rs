//! Reads the answer to a LIST while it arrives.
//!
//! The list of ten thousand pods is some 80 MB of JSON, of which a few fields count. Each item is read as soon as it is
//! there and its text forgotten, so what is held of the text is never more than a few items.

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};

use super::objects::{List, ListMeta};

/// After a value that was not there as a whole, so many bytes more are waited for at least: each attempt begins with the
/// value's first byte.
const WORTH_ANOTHER_ATTEMPT: usize = 128 * 1024;

/// A list under way.
pub struct ListReader<T> {
    /// What has not been read yet, from `position` on.
    text: Vec<u8>,
    position: usize,
    /// How long `text` must be before it is worth reading on.
    enough: usize,
    expected: Expected,
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Object,
    FirstName,
    Name,
    Value(Field),
    AfterValue,
    FirstItem,
    Item,
    AfterItem,
    Nothing,
}

/// A field of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Metadata,
    Items,
    Other,
}

impl<T: DeserializeOwned> ListReader<T> {
    /// Nothing has arrived yet.
    pub fn new() -> Self {
        Self {
            text: Vec::new(),
            position: 0,
            enough: 0,
            expected: Expected::Object,
            metadata: ListMeta::default(),
            items: None,
        }
    }

    /// Takes the next part of the answer.
    ///
    /// Errors: it is no list.
    pub fn push(&mut self, part: &[u8]) -> Result<(), serde_json::Error> {
        self.text.extend_from_slice(part);
        if self.text.len() < self.enough {
            return Ok(());
        }
        while self.step()? {}
        self.text.drain(..self.position);
        self.position = 0;
        self.enough = match self.expected {
            Expected::FirstItem | Expected::Item => WORTH_ANOTHER_ATTEMPT.max(self.text.len() * 2),
            _ => 0,
        };
        Ok(())
    }

    /// The list, once all parts have been taken.
    ///
    /// Errors: it is no list, or not a whole one.
    pub fn finish(mut self) -> Result<List<T>, serde_json::Error> {
        while self.step()? {}
        self.skip_space();
        match self.items {
            Some(items) if self.expected == Expected::Nothing && self.position == self.text.len() => Ok(List {
                metadata: self.metadata,
                items,
            }),
            None if self.expected == Expected::Nothing => Err(serde_json::Error::missing_field("items")),
            _ => Err(serde_json::Error::custom("the list does not end where it should")),
        }
    }

    /// Reads on by one token or value; `false` where that has not arrived yet.
    fn step(&mut self) -> Result<bool, serde_json::Error> {
        self.skip_space();
        let Some(&next) = self.text.get(self.position) else {
            return Ok(false);
        };
        self.expected = match (self.expected, next) {
            (Expected::Object, b'{') => self.pass(Expected::FirstName),
            (Expected::FirstName | Expected::AfterValue, b'}') => self.pass(Expected::Nothing),
            (Expected::FirstName | Expected::Name, b'"') => match self.name()? {
                Some(field) => Expected::Value(field),
                None => return Ok(false),
            },
            (Expected::Value(Field::Items), b'[') => {
                self.items = Some(Vec::new());
                self.pass(Expected::FirstItem)
            }
            // A server in Go writes an empty list so, where its program has not made one (seen for metadata).
            (Expected::Value(Field::Items), b'n') => match self.value::<()>()? {
                Some(()) => {
                    self.items = Some(Vec::new());
                    Expected::AfterValue
                }
                None => return Ok(false),
            },
            (Expected::Value(Field::Metadata), _) => match self.value()? {
                Some(metadata) => {
                    self.metadata = metadata;
                    Expected::AfterValue
                }
                None => return Ok(false),
            },
            (Expected::Value(Field::Other), _) => match self.value::<IgnoredAny>()? {
                Some(_) => Expected::AfterValue,
                None => return Ok(false),
            },
            (Expected::AfterValue, b',') => self.pass(Expected::Name),
            (Expected::FirstItem | Expected::AfterItem, b']') => self.pass(Expected::AfterValue),
            (Expected::FirstItem | Expected::Item, _) => match self.value()? {
                Some(item) => {
                    self.items.get_or_insert_default().push(item);
                    Expected::AfterItem
                }
                None => return Ok(false),
            },
            (Expected::AfterItem, b',') => self.pass(Expected::Item),
            _ => return Err(serde_json::Error::custom("it is no list of objects")),
        };
        Ok(true)
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.position..];
        self.position += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }

    fn pass(&mut self, expected: Expected) -> Expected {
        self.position += 1;
        expected
    }

    /// A field's name with its colon.
    fn name(&mut self) -> Result<Option<Field>, serde_json::Error> {
        let begin = self.position;
        let Some(name) = self.value::<String>()? else {
            return Ok(None);
        };
        self.skip_space();
        match self.text.get(self.position) {
            Some(b':') => self.position += 1,
            Some(_) => return Err(serde_json::Error::custom("a field without a value")),
            None => {
                self.position = begin;
                return Ok(None);
            }
        }
        Ok(Some(match name.as_str() {
            "metadata" => Field::Metadata,
            "items" => Field::Items,
            _ => Field::Other,
        }))
    }

    /// The value that begins here, if it has arrived as a whole.
    fn value<V: DeserializeOwned>(&mut self) -> Result<Option<V>, serde_json::Error> {
        let rest = &self.text[self.position..];
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<V>();
        match values.next() {
            Some(Ok(value)) => {
                let length = values.byte_offset();
                // Of a number more digits may follow.
                let ends_itself = rest.first().is_some_and(|first| b"{[\"".contains(first));
                if !ends_itself && length == rest.len() {
                    return Ok(None);
                }
                self.position += length;
                Ok(Some(value))
            }
            Some(Err(error)) if error.is_eof() || ends_in_number(rest) => Ok(None),
            Some(Err(error)) => Err(error),
            None => Ok(None),
        }
    }
}

/// Whether a text may end in the midst of a number. Of one that is passed over serde_json then says that it is none, not
/// that its end is missing.
fn ends_in_number(text: &[u8]) -> bool {
    text.last().is_some_and(|last| b"-+.eE".contains(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(text: &str, part: usize) -> Result<List<Value>, serde_json::Error> {
        let mut reader = ListReader::new();
        for part in text.as_bytes().chunks(part) {
            reader.push(part)?;
        }
        reader.finish()
    }

    #[test]
    fn a_list_is_read_wherever_its_parts_end() {
        let texts = [
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"a":"é }],"},{"b":[1,{}]}]}"#,
            "{ \"items\" : [\n{\"a\":\"é }],\"} ,\t{\"b\":[1,{}]} ] , \"count\" : 12 , \"metadata\" : {\"resourceVersion\":\"7\"} }\n",
        ];
        for text in texts {
            for part in 1..=text.len() {
                let list = read(text, part).unwrap();
                assert_eq!(list.metadata.resource_version, "7", "{part}");
                let expected = serde_json::json!([{"a": "é }],"}, {"b": [1, {}]}]);
                assert_eq!(Value::Array(list.items), expected, "{part}");
            }
        }
    }

    #[test]
    fn a_number_that_nobody_asks_for_may_arrive_in_parts() {
        // As in a pod of a PriorityClass for work that others may push aside.
        let text = r#"{"items":[{"spec":{"priority":-1000}},{"spec":{"x":1.5e-3}}],"x":-0.5E+1}"#;
        for part in 1..=text.len() {
            let mut reader = ListReader::<crate::kubernetes::objects::Pod>::new();
            for part in text.as_bytes().chunks(part) {
                reader.push(part).unwrap();
            }
            assert_eq!(reader.finish().unwrap().items.len(), 2, "{part}");
        }
    }

    #[test]
    fn items_longer_than_an_attempt_is_worth_are_read() {
        let item = format!(r#"{{"text":"{}"}}"#, "x".repeat(3 * WORTH_ANOTHER_ATTEMPT));
        let text = format!(r#"{{"items":[{item},{item},{{}}]}}"#);
        assert_eq!(read(&text, 16 * 1024).unwrap().items.len(), 3);
    }

    #[test]
    fn an_empty_list_is_one() {
        for text in [r#"{"items":[]}"#, r#"{"items":null,"metadata":{}}"#] {
            for part in 1..=text.len() {
                assert!(read(text, part).unwrap().items.is_empty(), "{text} in parts of {part}");
            }
        }
    }

    #[test]
    fn what_is_no_whole_list_is_refused() {
        for text in [
            "",
            "{}",
            "null",
            "[]",
            "<html>",
            r#"{"items":1}"#,
            r#"{"items":nil}"#,
            r#"{"items":"","metadata":{}}"#,
            r#"{"items":[{}"#,
            r#"{"items":[{}]"#,
            r#"{"items":[{},]}"#,
            r#"{"items":[{} {}]}"#,
            r#"{"items":[],}"#,
            r#"{"items":[]} {"items":[]}"#,
            r#"{"items":[],"metadata":1}"#,
            r#"{"items" []}"#,
        ] {
            for part in [1, 100] {
                assert!(read(text, part).is_err(), "{text} in parts of {part}");
            }
        }
    }
}
