//! JSON in which no name stands twice in an object. Of two values one reader takes the first and another the last, as `serde_json`
//! does: what a proxy has looked at would not be what is done (RFC 8259, 4).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads JSON. Errors: it is none, it is nested deeper than 128 levels, or a name stands twice in an object
/// ([`serde_json::Error::is_data`]).
pub fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Unique.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if values.contains_key(&name) {
                let name = crate::error::quote_shortened(&name);
                return Err(A::Error::custom(format!("the name {name} stands twice in an object")));
            }
            values.insert(name, object.next_value_seed(self)?);
        }
        Ok(values.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_read_as_it_stands() {
        let value =
            json!({"a": [1, -2, 0.5, null, true, "x\u{e9}", {}], "b": {"a": {"a": 18446744073709551615u64}}, "": []});
        assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
        for text in ["1e400", "{\"a\": 1} x", "", "[", "{\"a\": NaN}", &"[".repeat(200)] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn no_name_stands_twice_at_any_depth_however_it_is_written() {
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"p": [{"b": {"a": null, "c": 1, "a": null}}]}"#,
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(
                error.is_data() && error.to_string().contains("twice"),
                "{text}: {error}"
            );
        }
        read(br#"[{"a": 1}, {"a": 1, "A": {"a": 1}}]"#).unwrap();
    }
}
