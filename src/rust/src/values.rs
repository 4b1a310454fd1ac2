//! R values in, R lists out.

use abba_core::{Error, Warning};
use extendr_api::prelude::*;
use serde_json::{Map, Number, Value as Json};

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

    fn into_robj(self) -> Robj {
        match self {
            Self::Null => ().into(),
            Self::Text(text) => text_for_r(text).into(),
            Self::OptionalText(None) => Robj::from(Rstr::na()),
            Self::OptionalText(Some(text)) => text_for_r(text).into(),
            Self::Texts(texts) => texts.into_iter().map(text_for_r).collect::<Vec<_>>().into(),
            Self::OptionalTexts(texts) => texts
                .into_iter()
                .map(|text| text.map_or_else(Rstr::na, |text| Rstr::from(text_for_r(text))))
                .collect::<Strings>()
                .into(),
            Self::Integers(numbers) => numbers
                .into_iter()
                .map(|number| number.map_or_else(Rint::na, Rint::from))
                .collect::<Integers>()
                .into(),
            Self::Integer(number) => number.into(),
            Self::Flag(flag) => flag.into(),
            Self::Pointer(pointer) => pointer,
            Self::Named(elements) => {
                let (names, values): (Vec<&str>, Vec<Robj>) = elements
                    .into_iter()
                    .map(|(name, value)| (name, value.into_robj()))
                    .unzip();
                let mut list: Robj = List::from_values(values).into();
                // Fails only where the lengths differ.
                let _ = list.set_names(names);
                list
            }
            Self::Unnamed(values) => List::from_values(values.into_iter().map(Value::into_robj)).into(),
        }
    }
}

/// R strings hold no NUL.
fn text_for_r(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}")
    } else {
        text
    }
}

/// The list that R gets: `value`, `warnings`, `error`; of the first and the last one is `NULL`.
pub fn answer_to_r(outcome: Result<(Value, Vec<Warning>), Error>) -> Robj {
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
    .into_robj()
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
pub fn to_json(value: &Robj) -> Result<Json, Error> {
    convert(value, 0)
}

fn convert(value: &Robj, depth: usize) -> Result<Json, Error> {
    if depth > DEEPEST {
        return Err(Error::input(format!(
            "`mounts` is nested deeper than {DEEPEST} levels."
        )));
    }
    if value.is_null() {
        return Ok(Json::Null);
    }
    if value.inherits("factor") {
        return Err(Error::input("`mounts` holds a factor where text is expected.").advise("Use as.character()."));
    }
    let elements: Vec<Json> = match value.rtype() {
        Rtype::Logicals => value
            .as_logical_slice()
            .unwrap_or_default()
            .iter()
            .map(|&flag| {
                if flag.is_na() {
                    Err(not_available())
                } else {
                    Ok(Json::Bool(flag.is_true()))
                }
            })
            .collect::<Result<_, _>>()?,
        Rtype::Integers => value
            .as_integer_slice()
            .unwrap_or_default()
            .iter()
            .map(|&number| {
                if number == i32::MIN {
                    Err(not_available())
                } else {
                    Ok(Json::from(number))
                }
            })
            .collect::<Result<_, _>>()?,
        Rtype::Doubles => value
            .as_real_slice()
            .unwrap_or_default()
            .iter()
            .map(|&number| json_number(number))
            .collect::<Result<_, _>>()?,
        Rtype::Strings => {
            let strings = Strings::try_from(value.clone())
                .map_err(|error| Error::input(format!("Text cannot be read: {error}.")))?;
            strings
                .iter()
                .map(|text| {
                    if text.is_na() {
                        Err(not_available())
                    } else {
                        Ok(Json::String(text.to_string()))
                    }
                })
                .collect::<Result<_, _>>()?
        }
        Rtype::List => {
            let list = value.as_list().ok_or_else(|| unsupported("a list"))?;
            return list_to_json(&list, depth);
        }
        _ => return Err(unsupported(&format!("a value of type {:?}", value.rtype()))),
    };
    if let Some(names) = value.names() {
        return object(names.map(String::from), elements.into_iter().map(Ok));
    }
    match <[Json; 1]>::try_from(elements) {
        Ok([single]) if !value.inherits("AsIs") => Ok(single),
        Ok(single) => Ok(Json::Array(single.into())),
        Err(elements) => Ok(Json::Array(elements)),
    }
}

fn list_to_json(list: &List, depth: usize) -> Result<Json, Error> {
    let values = list.values().map(|value| convert(&value, depth + 1));
    match list.as_robj().names() {
        Some(names) => object(names.map(String::from), values),
        // Kubernetes has empty objects (`emptyDir = list()`) where empty arrays mean nothing.
        None if list.is_empty() => Ok(Json::Object(Map::new())),
        None => values.collect::<Result<Vec<_>, _>>().map(Json::Array),
    }
}

fn object(
    names: impl Iterator<Item = String>,
    values: impl Iterator<Item = Result<Json, Error>>,
) -> Result<Json, Error> {
    let mut object = Map::new();
    for (name, value) in names.zip(values) {
        let value = value?;
        if name.is_empty() {
            return Err(Error::input(
                "`mounts` holds a list with names for some of its elements only.",
            ));
        }
        if !value.is_null() {
            object.insert(name, value);
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

fn not_available() -> Error {
    Error::input("`mounts` holds NA, which means nothing to Kubernetes.")
}

fn unsupported(what: &str) -> Error {
    Error::input(format!("`mounts` holds {what}, which Kubernetes cannot take."))
}
