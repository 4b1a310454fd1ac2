//! R values in, R lists out.

use abba_core::{Error, Warning};
use extendr_api::Robj;
use serde_json::{Map, Number, Value as Json};

use crate::objects::{self, Argument, Content, Elements, Made, Texts};

/// What goes out to R.
pub enum Value {
    /// `NULL`
    Null,
    /// A character vector of one element.
    Text(String),
    /// The same, `NA` for `None`.
    OptionalText(Option<String>),
    /// A character vector.
    Texts(Vec<String>),
    /// A character vector with `NA` for `None`.
    OptionalTexts(Vec<Option<String>>),
    /// An integer vector with `NA` for `None`.
    Integers(Vec<Option<i32>>),
    /// An integer vector of one element.
    Integer(i32),
    /// A logical vector of one element.
    Flag(bool),
    /// An external pointer.
    Pointer(Robj),
    /// A list with names.
    Named(Vec<(&'static str, Value)>),
    /// A list without names.
    Unnamed(Vec<Value>),
}

impl Value {
    /// A list with names.
    pub fn named(elements: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self::Named(elements.into_iter().collect())
    }

    /// Makes the R object. R's thread alone may do so.
    pub fn make(self) -> Made {
        match self {
            Self::Null => objects::null(),
            Self::Text(text) => objects::texts([Some(text.as_str())].into_iter()),
            Self::OptionalText(text) => objects::texts([text.as_deref()].into_iter()),
            Self::Texts(texts) => objects::texts(texts.iter().map(|text| Some(text.as_str()))),
            Self::OptionalTexts(texts) => objects::texts(texts.iter().map(Option::as_deref)),
            Self::Integers(numbers) => {
                let number = |number: Option<i32>| number.unwrap_or_else(objects::not_available);
                objects::integers(&numbers.into_iter().map(number).collect::<Vec<_>>())
            }
            Self::Integer(number) => objects::integers(&[number]),
            Self::Flag(flag) => objects::flag(flag),
            Self::Pointer(pointer) => objects::released(pointer),
            Self::Named(elements) => {
                let (names, values): (Vec<&str>, Vec<Value>) = elements.into_iter().unzip();
                objects::with_names(Self::Unnamed(values).make(), &names)
            }
            Self::Unnamed(values) => objects::list(values.into_iter().map(|value| || value.make())),
        }
    }
}

/// The list that R gets: `value`, `warnings`, `error`; of the first and the last one is `NULL`.
pub fn answer_to_r(outcome: Result<(Value, Vec<Warning>), Error>) -> Value {
    let (value, warnings, error) = match outcome {
        Ok((value, warnings)) => (value, warnings, Value::Null),
        Err(error) => (Value::Null, Vec::new(), error_record(error)),
    };
    Value::named([
        ("value", value),
        (
            "warnings",
            Value::Unnamed(warnings.into_iter().map(warning_record).collect()),
        ),
        ("error", error),
    ])
}

/// What an error says, as a list; its elements are those of `abort_record()` in `R/conditions.R`.
pub fn error_record(error: Error) -> Value {
    let optional = |text: Option<String>| text.map_or(Value::Null, Value::Text);
    let (request, exit_status, stderr) = match error.kubectl {
        Some(report) => (
            Some(report.request).filter(|request| !request.is_empty()),
            report.exit_status,
            Some(report.stderr).filter(|words| !words.is_empty()),
        ),
        None => (None, None, None),
    };
    Value::named([
        ("class", Value::Text(error.class.name().to_string())),
        ("message", Value::Text(error.message)),
        ("consequence", optional(error.consequence)),
        ("advice", optional(error.advice)),
        ("details", optional(error.details)),
        ("request", optional(request)),
        ("exit_status", exit_status.map_or(Value::Null, Value::Integer)),
        ("stderr", optional(stderr)),
        ("job_id", Value::Texts(error.job_ids)),
    ])
}

fn warning_record(warning: Warning) -> Value {
    Value::named([
        ("class", Value::Text(warning.class.to_string())),
        ("message", Value::Text(warning.message)),
        ("advice", Value::Text(warning.advice)),
        ("job_id", Value::Texts(warning.job_ids)),
    ])
}

/// No Kubernetes object is nested deeper; deeper lists would exhaust the stack.
const DEEPEST: usize = 50;

/// An R value as JSON: a vector of one element is a scalar, unless it is wrapped in `I()`; longer ones are arrays; with
/// names either is an object; whole numbers are integers; `NULL` elements of a list are left out.
///
/// The R code has checked all arguments but `mounts`, so that is what errors are about: `NA`, infinite numbers, and what JSON cannot hold (functions, factors...).
pub fn to_json<'a>(value: impl Into<Argument<'a>>) -> Result<Json, Error> {
    convert(value.into(), 0)
}

fn convert(value: Argument<'_>, depth: usize) -> Result<Json, Error> {
    if depth > DEEPEST {
        return Err(Error::input(format!(
            "`mounts` is nested deeper than {DEEPEST} levels."
        )));
    }
    if value.inherits("factor") {
        return Err(Error::input("`mounts` holds a factor where text is expected.").advise("Use as.character()."));
    }
    let elements: Vec<Json> = match value.content() {
        Content::Null => return Ok(Json::Null),
        Content::Flags(flags) => flags
            .iter()
            .map(|&flag| available(flag).map(|flag| Json::Bool(flag != 0)))
            .collect::<Result<_, _>>()?,
        Content::Integers(numbers) => numbers
            .iter()
            .map(|&number| available(number).map(Json::from))
            .collect::<Result<_, _>>()?,
        Content::Numbers(numbers) => numbers
            .iter()
            .map(|&number| json_number(number))
            .collect::<Result<_, _>>()?,
        Content::Texts(texts) => texts
            .map(|text| match text {
                Ok(Some(text)) => Ok(Json::String(text.to_string())),
                Ok(None) => Err(not_available()),
                Err(error) => Err(Error::input(format!("Text cannot be read: {error}."))),
            })
            .collect::<Result<_, _>>()?,
        Content::List(elements) => return list_to_json(value, elements, depth),
        Content::Other(what) => return Err(unsupported(what)),
    };
    if let Some(names) = value.names() {
        return object(names, elements.into_iter().map(Ok));
    }
    match <[Json; 1]>::try_from(elements) {
        Ok([single]) if !value.inherits("AsIs") => Ok(single),
        Ok(single) => Ok(Json::Array(single.into())),
        Err(elements) => Ok(Json::Array(elements)),
    }
}

fn list_to_json(list: Argument<'_>, elements: Elements<'_>, depth: usize) -> Result<Json, Error> {
    let is_empty = elements.len() == 0;
    let values = elements.map(|value| convert(value, depth + 1));
    match list.names() {
        Some(names) => object(names, values),
        // Kubernetes has empty objects (`emptyDir = list()`) where empty arrays mean nothing.
        None if is_empty => Ok(Json::Object(Map::new())),
        None => values.collect::<Result<Vec<_>, _>>().map(Json::Array),
    }
}

fn object(names: Texts<'_>, values: impl Iterator<Item = Result<Json, Error>>) -> Result<Json, Error> {
    let mut object = Map::new();
    for (name, value) in names.zip(values) {
        let value = value?;
        let name = match name {
            Ok(Some(name)) if !name.is_empty() => name,
            Ok(_) => {
                return Err(Error::input(
                    "`mounts` holds a list with names for some of its elements only.",
                ))
            }
            Err(error) => return Err(Error::input(format!("A name cannot be read: {error}."))),
        };
        if !value.is_null() {
            object.insert(name.to_string(), value);
        }
    }
    Ok(Json::Object(object))
}

fn json_number(number: f64) -> Result<Json, Error> {
    // Doubles hold every whole number up to here; Kubernetes refuses 420.0 where it wants an integer.
    const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;
    if number.is_nan() {
        return Err(not_available());
    }
    if number.fract() == 0.0 && number.abs() <= LARGEST_EXACT {
        return Ok(Json::from(number as i64));
    }
    Number::from_f64(number)
        .map(Json::Number)
        .ok_or_else(|| unsupported("an infinite number"))
}

fn available(number: i32) -> Result<i32, Error> {
    match number == objects::not_available() {
        true => Err(not_available()),
        false => Ok(number),
    }
}

fn not_available() -> Error {
    Error::input("`mounts` holds NA, which means nothing to Kubernetes.")
}

fn unsupported(what: &str) -> Error {
    Error::input(format!("`mounts` holds {what}, which Kubernetes cannot take."))
}
