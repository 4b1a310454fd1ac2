//! What a request says: its query and its body.

use percent_encoding::percent_decode_str;
use serde_json::{json, Map, Number, Value};

use crate::domain::job_status::Status;
use crate::domain::unique_json;
use crate::error::quote_shortened;
use crate::operations::{self, JobSelector};
use crate::Error;

/// Ids in one request, at most.
const MOST_IDS: usize = 10_000;

/// JSON values in one request, at most: in memory each is several times as large as its text.
const MOST_VALUES: usize = 100_000;

/// An argument that a call knows.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Whether the call needs it.
    pub is_required: bool,
    /// What it says, for the API's description.
    pub doc: &'static str,
}

/// What an argument may be. Any may stand in the query as text, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A string of base64.
    Base64,
    /// The id of one job or batch; in the query also named `id`.
    Id,
    /// The id of a job that is to be made.
    NewId,
    /// One or more strings: an array, or one string with commas between them.
    Texts,
    /// The same for ids of jobs; also named `id`.
    Ids,
    /// Strings that may hold anything: an array.
    Strings,
    /// Strings with names: an object.
    Variables,
    /// A time as Kubernetes writes it.
    Time,
    /// Where a page of logs begins.
    Page,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// Processor cores: a number or a string.
    Cpu,
    /// Memory: a string, or a number of bytes.
    Memory,
    /// An amount of something else: the same.
    Bytes,
    /// One of these strings; the first is the default.
    Choice(&'static [&'static str]),
    /// Volumes and volume mounts: an object.
    Mounts,
    /// The programs of a batch: an array of objects.
    Programs,
}

impl Kind {
    /// The value of an argument of a submission that was not given, where the core writes none.
    pub fn none(self) -> Value {
        match self {
            Self::Flag => false.into(),
            Self::Strings => json!([]),
            Self::Variables => json!({}),
            _ => Value::Null,
        }
    }
}

impl Argument {
    /// An argument that a call can do without.
    pub const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            is_required: false,
            doc,
        }
    }

    /// An argument that a call needs.
    pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            is_required: true,
            ..Self::optional(name, kind, doc)
        }
    }

    /// Another name that it has.
    fn synonym(&self) -> Option<&'static str> {
        matches!(self.kind, Kind::Id | Kind::Ids).then_some("id")
    }
}

/// The arguments of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    values: Map<String, Value>,
}

impl Arguments {
    /// Reads a query (as it stands after the `?`) and a body, which is empty or a JSON object. JSON that is nested deeper
    /// than 128 levels is refused (serde_json's own bound).
    pub fn read(query: &str, body: &[u8]) -> Result<Self, Error> {
        let mut values = Map::new();
        for pair in query.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            insert(&mut values, decode(name)?, Value::String(decode(value)?))?;
        }
        // A mark of the byte order, which some write before UTF-8.
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        if !body.iter().all(u8::is_ascii_whitespace) {
            check_size(body)?;
            let body = unique_json::read(body).map_err(|error| no_json(body, &error))?;
            let Value::Object(object) = body else {
                return Err(Error::input("The body of the request must be a JSON object."));
            };
            for (name, value) in object {
                insert(&mut values, name, value)?;
            }
        }
        values.retain(|_, value| !value.is_null());
        Ok(Self { values })
    }

    /// The arguments in an object of a list, with `common` for those that it lacks.
    pub fn of_element(element: Value, common: &Self) -> Result<Self, Error> {
        let Value::Object(mut values) = element else {
            return Err(Error::input("Each element of `programs` must be a JSON object."));
        };
        values.retain(|_, value| !value.is_null());
        for (name, value) in &common.values {
            values.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Ok(Self { values })
    }

    /// Refuses arguments that are not among `known`. One that was given by its synonym has its name afterwards, and one that
    /// R wrote as a vector of one is that one.
    pub fn check<'a>(&mut self, known: impl Iterator<Item = &'a Argument> + Clone) -> Result<(), Error> {
        for argument in known.clone() {
            let given = argument.synonym().and_then(|synonym| self.values.remove(synonym));
            if let Some(value) = given {
                insert(&mut self.values, argument.name.into(), value)?;
            }
            if let Some(value) = self
                .values
                .remove(argument.name)
                .and_then(|value| unboxed(argument.kind, value))
            {
                self.values.insert(argument.name.into(), value);
            }
        }
        let unknown = self
            .values
            .iter()
            .filter(|(_, value)| **value != Value::String(String::new()))
            .find(|(name, _)| !known.clone().any(|argument| argument.name == name.as_str()));
        match unknown.map(|(name, _)| name.as_str()) {
            None => Ok(()),
            Some(name @ ("namespace" | "username" | "home_nfs_ip_address")) => {
                Err(Error::input(format!("`{name}` is not for the caller to choose."))
                    .advise("Leave it out: the abba server sets it."))
            }
            Some(name) => Err(Error::input(format!(
                "There is no argument {} in this call.",
                quote_shortened(name)
            ))),
        }
    }

    /// Whether an argument is there.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// About how many bytes all of them are as JSON.
    pub fn size(&self) -> usize {
        self.values.iter().map(|(name, value)| name.len() + size(value)).sum()
    }

    /// A string; `None` where it is not there or empty.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(_) => Err(must_be(name, "a string")),
        }
    }

    /// The same where an empty string is something.
    pub fn text_or_empty(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.values.get(name) {
            Some(Value::String(text)) if text.is_empty() => {
                self.values.remove(name);
                Ok(Some(String::new()))
            }
            _ => self.text(name),
        }
    }

    /// One or more strings: an array, or one string with commas between them.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Error> {
        match self.values.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) if text.matches(',').count() >= MOST_IDS => Err(too_many_ids(name)),
            Some(Value::String(text)) => Ok(text.split(',').map(String::from).collect()),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(must_be(name, "a string or an array of strings")),
                })
                .collect(),
            Some(_) => Err(must_be(name, "a string or an array of strings")),
        }
    }

    /// A number, or text that is one.
    pub fn number(&mut self, name: &str) -> Result<Option<f64>, Error> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => text.parse().map(Some).map_err(|_| must_be(name, "a number")),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(_) => Err(must_be(name, "a number")),
        }
    }

    /// An argument of a submission by its kind, as the core reads it; `None` where it is not there or empty.
    ///
    /// Errors: it is of another kind.
    pub fn value(&mut self, argument: &Argument) -> Result<Option<Value>, Error> {
        let name = argument.name;
        let value = match (argument.kind, self.values.remove(name)) {
            (_, None) => return Ok(None),
            (_, Some(Value::String(text))) if text.is_empty() => return Ok(None),
            (Kind::Mounts | Kind::Variables, Some(Value::Array(values))) if values.is_empty() => return Ok(None),
            (Kind::Mounts | Kind::Variables | Kind::Strings, Some(Value::String(text))) => {
                check_size(text.as_bytes())?;
                unique_json::read(text.as_bytes()).unwrap_or_default()
            }
            (Kind::Number, Some(Value::String(text))) => text
                .parse()
                .ok()
                .and_then(Number::from_f64)
                .map(Value::Number)
                .unwrap_or_default(),
            (Kind::Flag, Some(Value::String(text))) => {
                text.to_ascii_lowercase().parse().map(Value::Bool).unwrap_or_default()
            }
            (Kind::Memory | Kind::Bytes, Some(Value::Number(bytes))) if bytes.is_u64() => bytes.to_string().into(),
            (_, Some(value)) => value,
        };
        let of_texts = |value: &Value| match value {
            Value::Array(values) => values.iter().all(Value::is_string),
            Value::Object(values) => values.values().all(Value::is_string),
            _ => false,
        };
        if let Kind::Choice(choices) = argument.kind {
            return match value.as_str() {
                Some(text) if choices.contains(&text) => Ok(Some(value)),
                _ => Err(must_be(name, &format!("\"{}\"", choices.join("\" or \"")))),
            };
        }
        let (is_legal, what) = match argument.kind {
            Kind::Number => (value.is_number(), "a number"),
            Kind::Flag => (value.is_boolean(), "true or false"),
            Kind::Cpu => (value.is_number() || value.is_string(), "a number or a string"),
            Kind::Mounts => (value.is_object(), "a JSON object"),
            Kind::Variables => (value.is_object() && of_texts(&value), "a JSON object of strings"),
            Kind::Strings => (value.is_array() && of_texts(&value), "an array of strings"),
            _ => (value.is_string(), "a string"),
        };
        match is_legal {
            true => Ok(Some(value)),
            false => Err(must_be(name, what)),
        }
    }

    /// The jobs of `job_id`.
    pub fn jobs(&mut self) -> Result<JobSelector, Error> {
        let ids = self.texts("job_id")?;
        if ids.len() > MOST_IDS {
            return Err(too_many_ids("job_id"));
        }
        let which = JobSelector::Jobs(ids);
        operations::check(&which)?;
        Ok(which)
    }

    /// The batch of `batch_id`.
    pub fn batch(&mut self) -> Result<JobSelector, Error> {
        let which = JobSelector::Batch(self.text("batch_id")?.unwrap_or_default());
        operations::check(&which)?;
        Ok(which)
    }

    /// The jobs of `job_id` or the batch of `batch_id`, where either is permitted.
    pub fn jobs_or_batch(&mut self) -> Result<JobSelector, Error> {
        match (self.has("job_id"), self.has("batch_id")) {
            (true, true) => Err(Error::input("Either `job_id` or `batch_id` is given, not both.")),
            (false, true) => self.batch(),
            _ => self.jobs(),
        }
    }

    /// The states of `status`; none where none is named.
    pub fn statuses(&mut self) -> Result<Vec<String>, Error> {
        let statuses = self.texts("status")?;
        match statuses.iter().find(|status| Status::of_name(status).is_none()) {
            None => Ok(statuses),
            Some(unknown) => Err(Error::input(format!(
                "`status` must be out of {}, not {}.",
                Status::ALL.map(Status::name).join(", "),
                quote_shortened(unknown)
            ))),
        }
    }

    /// An array.
    pub fn array(&mut self, name: &str) -> Result<Option<Vec<Value>>, Error> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(must_be(name, "an array")),
        }
    }
}

fn insert(values: &mut Map<String, Value>, name: String, value: Value) -> Result<(), Error> {
    // The same twice: whoever checks the one might use the other.
    if values.contains_key(&name) {
        return Err(Error::input(format!(
            "The argument {} is given twice.",
            quote_shortened(&name)
        )));
    }
    values.insert(name, value);
    Ok(())
}

fn decode(text: &str) -> Result<String, Error> {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Error::input("The query of the request is no UTF-8 text."))
}

fn must_be(name: &str, what: &str) -> Error {
    Error::input(format!("`{name}` must be {what}."))
}

/// A value as R's jsonlite means it, which by default writes each scalar as an array of one, and NULL as an empty object:
/// <https://cran.r-project.org/package=jsonlite>, `toJSON(auto_unbox = FALSE, null = "list")`. `None`: there is none.
fn unboxed(kind: Kind, value: Value) -> Option<Value> {
    match (kind, value) {
        (Kind::Programs, value) => Some(value),
        (Kind::Texts | Kind::Ids | Kind::Strings, Value::Array(values)) => {
            Some(values.into_iter().map(only_scalar).collect())
        }
        (Kind::Mounts | Kind::Variables, value) => Some(deeply_unboxed(value)),
        (_, Value::Object(object)) if object.is_empty() => None,
        (_, value) => Some(only_scalar(value)).filter(|value| !value.is_null()),
    }
}

/// The scalar of an array that holds nothing else; any other value as it is.
fn only_scalar(value: Value) -> Value {
    match value {
        Value::Array(mut values) if values.len() == 1 && !values[0].is_array() && !values[0].is_object() => {
            values.swap_remove(0)
        }
        value => value,
    }
}

fn deeply_unboxed(value: Value) -> Value {
    match only_scalar(value) {
        Value::Array(values) => values.into_iter().map(deeply_unboxed).collect(),
        Value::Object(object) => {
            let fields = object.into_iter().map(|(name, value)| (name, deeply_unboxed(value)));
            Value::Object(fields.collect())
        }
        value => value,
    }
}

/// About how many bytes a value is as JSON.
pub fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(object) => object.iter().map(|(name, value)| name.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => size_of::<f64>(),
    }
}

/// Refuses JSON that holds too many values, before anything is made of it.
fn check_size(json: &[u8]) -> Result<(), Error> {
    let (mut count, mut in_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    match count > MOST_VALUES {
        false => Ok(()),
        true => Err(Error::input(format!(
            "The request holds more than {MOST_VALUES} values, all lists and fields counted."
        ))
        .meaning("Nothing was done.")
        .advise("Send several smaller ones.")),
    }
}

fn too_many_ids(name: &str) -> Error {
    Error::input(format!("`{name}` may hold {MOST_IDS} ids at most."))
}

fn no_json(body: &[u8], error: &serde_json::Error) -> Error {
    let what = match body {
        [0x1f, 0x8b, ..] => "It is packed with gzip: send it as it is.".to_string(),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "It is UTF-16: send it in UTF-8.".to_string(),
        // A name that stands twice.
        _ if error.is_data() => return Error::input(format!("The body of the request is refused: {error}.")),
        _ => format!("{error}."),
    };
    Error::input(format!("The body of the request is no JSON. {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_and_body_are_one() {
        let mut arguments = Arguments::read(
            "?file_path=%2Fa%20b%2Bc.R&cpu_limit=0.5&x=",
            br#"{"user_tag": "t", "container": null}"#,
        )
        .unwrap();
        assert_eq!(arguments.text("file_path").unwrap().as_deref(), Some("/a b+c.R"));
        let cpu_limit = Argument::optional("cpu_limit", Kind::Cpu, "");
        assert_eq!(arguments.value(&cpu_limit).unwrap(), Some("0.5".into()));
        assert_eq!(arguments.text("user_tag").unwrap().as_deref(), Some("t"));
        assert_eq!(arguments.text("container").unwrap(), None);
    }

    const KNOWN: [Argument; 2] = [
        Argument::required("job_id", Kind::Ids, ""),
        Argument::optional("a", Kind::Number, ""),
    ];

    #[test]
    fn nothing_is_given_twice_and_nothing_is_unknown() {
        assert!(Arguments::read("a=1&a=2", b"").is_err());
        assert!(Arguments::read("a=1", br#"{"a": 1}"#).is_err());
        let check = |query: &str| Arguments::read(query, b"").unwrap().check(KNOWN.iter());
        check("a=1&job_id=x").unwrap();
        // A field of a form that was left empty.
        check("b=").unwrap();
        for query in ["namespace=kube-system", "a=1&username=x", "id=x&job_id=y"] {
            assert!(check(query).is_err(), "{query}");
        }
        let error = check("namespace=kube-system").unwrap_err();
        assert_eq!(error.message, "`namespace` is not for the caller to choose.");
    }

    #[test]
    fn an_id_may_be_called_so() {
        let mut arguments = Arguments::read("id=x", b"").unwrap();
        arguments.check(KNOWN.iter()).unwrap();
        assert_eq!(arguments.texts("job_id").unwrap(), ["x"]);
        // Where the call has none, it is no argument.
        assert!(Arguments::read("id=x", b"").unwrap().check(KNOWN[1..].iter()).is_err());
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let deep_object = r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000);
        for body in ["[]", "1", "{", "{\"a\":}", "\u{0}", &deep, &deep_object] {
            assert!(Arguments::read("", body.as_bytes()).is_err());
        }
        assert!(Arguments::read("", b" \n").is_ok());
        assert!(Arguments::read("a=%ff", b"").is_err());
    }

    #[test]
    fn a_body_of_a_few_megabytes_that_would_be_hundreds_of_them_in_memory_is_refused() {
        let many = |part: &str| part.repeat(1_000_000);
        for body in [
            format!("{{\"a\": [{}0]}}", many("0,")),
            format!("{{\"a\": [{}0]}}", many("{\"a\":0},")),
            format!("{{\"a\": [{}0]}}", many("[],")),
            format!("{{\"a\": [\"\\\\\",\"\\\"\",{}0]}}", many("{},")),
            format!("{{{}\"x\":0}}", many("\"a\":0,")),
            // As text, too.
            json!({"mounts": format!("[{}0]", many("0,"))}).to_string(),
        ] {
            let refused = Arguments::read("", body.as_bytes())
                .and_then(|mut read| read.value(&Argument::optional("mounts", Kind::Mounts, "")));
            let error = refused.unwrap_err();
            assert!(error.message.contains("more than 100000 values"), "{}", error.message);
        }
        // A long text is one value, whatever is in it.
        let text = json!({"a": many("[{,\"\\")}).to_string();
        assert!(Arguments::read("", text.as_bytes()).is_ok());
        let ids = json!({"job_id": many("a,")}).to_string();
        let error = Arguments::read("", ids.as_bytes()).unwrap().jobs().unwrap_err();
        assert!(error.message.contains("10000 ids"), "{}", error.message);
    }

    #[test]
    fn types_are_checked() {
        let body = br#"{"a": {}, "n": 2, "l": ["x", "y"], "b": true, "w": {"A": 1}, "x": []}"#;
        let query = "q=%5B%22a%2Cb%22%2C%22%22%5D&m=&t=a,b&v={\"A\":\"\"}&f=FALSE&r=0.5&inf=inf";
        let read = || Arguments::read(query, body).unwrap();
        let value = |name, kind| read().value(&Argument::optional(name, kind, ""));
        assert_eq!(read().number("n").unwrap(), Some(2.0));
        assert_eq!(read().texts("l").unwrap(), ["x", "y"]);
        for (name, kind, expected) in [
            ("n", Kind::Number, Some(json!(2))),
            ("r", Kind::Number, Some(json!(0.5))),
            ("n", Kind::Memory, Some(json!("2"))),
            ("n", Kind::Bytes, Some(json!("2"))),
            ("n", Kind::Cpu, Some(json!(2))),
            ("r", Kind::Cpu, Some(json!("0.5"))),
            ("b", Kind::Flag, Some(json!(true))),
            ("f", Kind::Flag, Some(json!(false))),
            ("l", Kind::Strings, Some(json!(["x", "y"]))),
            ("q", Kind::Strings, Some(json!(["a,b", ""]))),
            ("m", Kind::Strings, None),
            ("none", Kind::Strings, None),
            ("v", Kind::Variables, Some(json!({"A": ""}))),
            ("x", Kind::Variables, None),
            ("x", Kind::Mounts, None),
            ("a", Kind::Mounts, Some(json!({}))),
            ("t", Kind::Text, Some(json!("a,b"))),
        ] {
            assert_eq!(value(name, kind).unwrap(), expected, "{name} {kind:?}");
        }
        for (name, kinds) in [
            (
                "a",
                &[
                    Kind::Text,
                    Kind::Number,
                    Kind::Flag,
                    Kind::Strings,
                    Kind::Cpu,
                    Kind::Memory,
                ][..],
            ),
            ("n", &[Kind::Strings, Kind::Text, Kind::Flag]),
            ("t", &[Kind::Strings, Kind::Mounts, Kind::Number, Kind::Flag]),
            ("l", &[Kind::Variables, Kind::Mounts]),
            ("w", &[Kind::Variables]),
            ("inf", &[Kind::Number]),
        ] {
            for kind in kinds {
                let error = value(name, *kind).unwrap_err();
                assert!(error.message.starts_with(&format!("`{name}` must be a")) || *kind == Kind::Flag);
            }
        }
        assert!(read().text("a").is_err() && read().texts("n").is_err() && read().array("a").is_err());
    }

    #[test]
    fn scalars_that_r_writes_as_arrays_of_one_are_scalars() {
        let known = [
            Argument::optional("text", Kind::Text, ""),
            Argument::optional("null", Kind::Text, ""),
            Argument::optional("missing", Kind::Number, ""),
            Argument::optional("number", Kind::Number, ""),
            Argument::optional("flag", Kind::Flag, ""),
            Argument::optional("ids", Kind::Ids, ""),
            Argument::optional("strings", Kind::Strings, ""),
            Argument::optional("environment", Kind::Variables, ""),
            Argument::optional("mounts", Kind::Mounts, ""),
            Argument::optional("two", Kind::Text, ""),
        ];
        let body = r#"{"text": ["a"], "null": {}, "missing": [null], "number": [60], "flag": [true], "ids": [["a-1"], "b-1"],
            "strings": ["x"], "environment": {"A": ["1"]}, "two": ["a", "b"],
            "mounts": {"volumes": [{"name": ["s"], "nfs": {"path": ["/s"]}}], "volumeMounts": [{"readOnly": [true]}]}}"#;
        let mut arguments = Arguments::read("", &[b"\xef\xbb\xbf", body.as_bytes()].concat()).unwrap();
        arguments.check(known.iter()).unwrap();
        assert_eq!(arguments.text("text").unwrap().as_deref(), Some("a"));
        assert!(!arguments.has("null") && !arguments.has("missing"));
        assert_eq!(arguments.number("number").unwrap(), Some(60.0));
        let mut value = |place: usize| arguments.value(&known[place]).unwrap();
        assert_eq!(value(4), Some(true.into()));
        assert_eq!(value(6), Some(serde_json::json!(["x"])));
        assert_eq!(arguments.texts("ids").unwrap(), ["a-1", "b-1"]);
        assert_eq!(arguments.values["environment"], serde_json::json!({"A": "1"}));
        assert_eq!(
            arguments.values["mounts"],
            serde_json::json!({"volumes": [{"name": "s", "nfs": {"path": "/s"}}], "volumeMounts": [{"readOnly": true}]})
        );
        assert!(arguments.text("two").is_err());
    }

    #[test]
    fn a_body_that_is_packed_or_in_another_encoding_is_called_that() {
        for (body, words) in [
            (&b"\x1f\x8b\x08"[..], "gzip"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b"{", "no JSON"),
        ] {
            assert!(
                Arguments::read("", body).unwrap_err().message.contains(words),
                "{words}"
            );
        }
    }
}
