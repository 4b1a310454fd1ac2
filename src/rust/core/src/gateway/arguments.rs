//! What a request says: its query and its body.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Number, Value};

use crate::domain::submission::CpuArgument;
use crate::error::quote_shortened;
use crate::operations::{self, JobSelector};
use crate::Error;

/// Ids in one request, at most.
const MOST_IDS: usize = 10_000;

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
    /// Volumes and volume mounts: an object.
    Mounts,
    /// The programs of a batch: an array of objects.
    Programs,
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
        if !body.iter().all(u8::is_ascii_whitespace) {
            let body: Value = serde_json::from_slice(body)
                .map_err(|error| Error::input(format!("The body of the request is no JSON: {error}.")))?;
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

    /// Refuses arguments that are not among `known`. One that was given by its synonym has its name afterwards.
    pub fn check<'a>(&mut self, known: impl Iterator<Item = &'a Argument> + Clone) -> Result<(), Error> {
        for argument in known.clone() {
            let given = argument.synonym().and_then(|synonym| self.values.remove(synonym));
            if let Some(value) = given {
                insert(&mut self.values, argument.name.into(), value)?;
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

    /// Gives an argument a value where it has none.
    pub fn set_default(&mut self, name: &str, value: &str) {
        let is_set = self
            .values
            .get(name)
            .is_some_and(|value| *value != Value::String(String::new()));
        if !is_set {
            self.values.insert(name.into(), value.into());
        }
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

    /// An array of strings, or text that is one; empty where it is not there or empty.
    pub fn strings(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let value = match self.values.remove(name) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
            Some(Value::String(text)) => serde_json::from_str(&text),
            Some(value) => Ok(value),
        };
        value
            .and_then(serde_json::from_value)
            .map_err(|_| must_be(name, "an array of strings"))
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

    /// A number or a string: a limit of processor cores.
    pub fn cpu_limit(&mut self, name: &str) -> Result<Option<CpuArgument>, Error> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(CpuArgument::Text(text))),
            Some(Value::Number(number)) => Ok(number.as_f64().map(CpuArgument::Number)),
            Some(_) => Err(must_be(name, "a number or a string")),
        }
    }

    /// A string, or a number of bytes.
    pub fn memory_limit(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.values.get(name).and_then(Value::as_u64).map(Number::from) {
            Some(number) => {
                self.values.remove(name);
                Ok(Some(number.to_string()))
            }
            None => self.text(name),
        }
    }

    /// `true` or `false`, also as R writes them.
    pub fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.values.remove(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "" | "false" => Ok(false),
                "true" => Ok(true),
                _ => Err(must_be(name, "true or false")),
            },
            Some(_) => Err(must_be(name, "true or false")),
        }
    }

    /// An object, or text that is one; `None` where it is not there or empty.
    pub fn object(&mut self, name: &str) -> Result<Option<Value>, Error> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(value @ Value::Object(_)) => Ok(Some(value)),
                _ => Err(must_be(name, "a JSON object")),
            },
            Some(Value::Array(values)) if values.is_empty() => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(value)),
            Some(_) => Err(must_be(name, "a JSON object")),
        }
    }

    /// An object of strings, or text that is one; empty where it is not there or empty.
    pub fn variables(&mut self, name: &str) -> Result<BTreeMap<String, String>, Error> {
        let object = self.object(name)?.unwrap_or_else(|| Map::new().into());
        serde_json::from_value(object).map_err(|_| must_be(name, "a JSON object of strings"))
    }

    /// The jobs of `job_id`.
    pub fn jobs(&mut self) -> Result<JobSelector, Error> {
        let ids = self.texts("job_id")?;
        if ids.len() > MOST_IDS {
            return Err(Error::input(format!("`job_id` may hold {MOST_IDS} ids at most.")));
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
        let known = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
        match statuses.iter().find(|status| !known.contains(&status.as_str())) {
            None => Ok(statuses),
            Some(unknown) => Err(Error::input(format!(
                "`status` must be out of {}, not {}.",
                known.join(", "),
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
        assert_eq!(
            arguments.cpu_limit("cpu_limit").unwrap(),
            Some(CpuArgument::Text("0.5".into()))
        );
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
    fn types_are_checked() {
        let read = || Arguments::read("", br#"{"a": {}, "n": 2, "l": ["x", "y"], "b": true}"#).unwrap();
        assert!(read().text("a").is_err() && read().number("a").is_err() && read().flag("a").is_err());
        assert_eq!(read().number("n").unwrap(), Some(2.0));
        assert_eq!(read().texts("l").unwrap(), ["x", "y"]);
        assert!(read().flag("b").unwrap());
        assert_eq!(read().strings("l").unwrap(), ["x", "y"]);
        assert!(read().strings("none").unwrap().is_empty());
        let mut query = Arguments::read("l=%5B%22a%2Cb%22%2C%22%22%5D&m=&n=a,b", b"").unwrap();
        assert_eq!(query.strings("l").unwrap(), ["a,b", ""]);
        assert!(query.strings("m").unwrap().is_empty() && query.strings("n").is_err());
        let mut object = Arguments::read("v={\"A\":\"\"}", br#"{"w": {"A": 1}, "x": []}"#).unwrap();
        assert_eq!(
            object.variables("v").unwrap(),
            BTreeMap::from([("A".into(), "".into())])
        );
        assert!(object.variables("w").is_err() && object.variables("x").unwrap().is_empty());
        assert!(read().variables("l").is_err() && read().variables("none").unwrap().is_empty());
        assert!(read().strings("a").is_err() && read().strings("n").is_err());
        assert!(read().texts("n").is_err() && read().object("l").is_err() && read().array("a").is_err());
    }
}
