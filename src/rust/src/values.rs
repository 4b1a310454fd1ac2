//! R values in, R lists out.

use std::any::Any;
use std::cell::Cell;

use abba_core::domain::job_template;
use abba_core::error::quote_shortened;
use abba_core::{Error, ErrorClass, Warning};
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::{json, Map, Number, Value as Json};

use crate::objects::{self, Argument, Content, Elements, Made, Texts};
use crate::Answer;

/// What goes out to R.
pub enum Value {
    /// `NULL`, vectors of one element, and lists of these: an object is a list with names, an array one without, `null` is
    /// `NULL`. It is what `jsonlite::parse_json()` makes of the same JSON, so that R reads what comes from here as it reads
    /// the answers of an abba API.
    Json(Json),
    /// A character vector of one element.
    Text(String),
    /// A character vector: many lines are not worth a detour.
    Texts(Vec<String>),
    /// A character vector with `NA` for `None`.
    OptionalTexts(Vec<Option<String>>),
    /// An integer vector with `NA` for `None`.
    OptionalIntegers(Vec<Option<i32>>),
    /// A raw vector: R makes a hash of each text, whatever its length.
    Bytes(Vec<u8>),
    /// An external pointer.
    Pointer(Box<dyn Any>),
    /// A list with names.
    Named(Vec<(&'static str, Value)>),
    /// A list without names.
    Unnamed(Vec<Value>),
}

impl Value {
    /// `NULL`
    pub fn null() -> Self {
        Self::Json(Json::Null)
    }

    /// A result of the core.
    pub fn json(result: &impl Serialize) -> Result<Answer, Error> {
        serde_json::to_value(result)
            .map(|json| Self::Json(json).into())
            .map_err(|error| Error::new(ErrorClass::Internal, format!("JSON: {error}.")))
    }

    /// A list with names.
    pub fn named(elements: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self::Named(elements.into_iter().collect())
    }

    /// Makes the R object. R's thread alone may do so.
    pub fn make(self) -> Made {
        match self {
            Self::Json(json) => from_json(json),
            Self::Text(text) => objects::text(&text),
            Self::Texts(texts) => objects::texts(texts.iter().map(String::as_str)),
            Self::OptionalTexts(texts) => objects::optional_texts(&texts),
            Self::OptionalIntegers(numbers) => objects::optional_integers(&numbers),
            Self::Bytes(bytes) => objects::bytes(&bytes),
            Self::Pointer(pointer) => objects::pointer(pointer),
            Self::Named(elements) => {
                let (names, values): (Vec<&str>, Vec<Value>) = elements.into_iter().unzip();
                objects::with_names(Self::Unnamed(values).make(), names.into_iter())
            }
            Self::Unnamed(values) => objects::list(values.into_iter().map(|value| || value.make())),
        }
    }
}

fn from_json(json: Json) -> Made {
    match json {
        Json::Null => objects::null(),
        Json::Bool(flag) => objects::flag(flag),
        Json::Number(number) => match number.as_i64().and_then(|whole| i32::try_from(whole).ok()) {
            // R has this one for NA.
            Some(whole) if whole != i32::MIN => objects::integer(whole),
            _ => objects::number(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => objects::text(&text),
        Json::Array(values) => objects::list(values.into_iter().map(|value| || from_json(value))),
        Json::Object(object) => {
            let (names, values): (Vec<String>, Vec<Json>) = object.into_iter().unzip();
            let list = objects::list(values.into_iter().map(|value| || from_json(value)));
            objects::with_names(list, names.iter().map(String::as_str))
        }
    }
}

/// The list that R gets: `value`, `warnings`, `error`, of which the first or the last is `NULL`; and `interrupted`, whether
/// Ctrl-C was taken from R, which has to stop then.
pub fn answer_to_r(outcome: Result<(Value, Vec<Warning>), Error>) -> Value {
    let (value, warnings, error) = match outcome {
        Ok((value, warnings)) => (value, json!(warnings), Json::Null),
        Err(error) => (Value::null(), json!([]), json!(error)),
    };
    Value::named([
        ("value", value),
        ("warnings", Value::Json(warnings)),
        ("error", Value::Json(error)),
        ("interrupted", Value::Json(crate::interrupt::was_taken().into())),
    ])
}

/// Reads what R hands over. `R/arguments.R` has checked its types, so what does not fit is a mistake of the package itself.
pub fn read<T: DeserializeOwned>(value: Argument<'_>) -> Result<T, Error> {
    from_r(to_json(value)?)
}

/// The same of what is JSON already.
pub fn from_r<T: DeserializeOwned>(json: Json) -> Result<T, Error> {
    serde_json::from_value(json).map_err(|error| {
        Error::new(
            ErrorClass::Internal,
            format!("abba's R code handed over an argument of a wrong type: {error}."),
        )
    })
}

/// No Kubernetes object is nested deeper; deeper lists would exhaust the stack.
const DEEPEST: usize = 50;

/// An R value as JSON: a vector of one element is a scalar, unless it is wrapped in `I()`; longer ones are arrays; with
/// names either is an object; whole numbers are integers; `NULL` elements of a list are left out.
///
/// The R code has checked all arguments but `mounts`, so that is what errors are about: `NA`, infinite numbers, and what JSON cannot hold (functions, factors...).
pub fn to_json(value: Argument<'_>) -> Result<Json, Error> {
    let reader = Reader {
        argument: "mounts",
        keeps_null: false,
        room: Cell::new(usize::MAX),
    };
    reader.convert(value, 0)
}

/// The same for an administrator's Job template, where a `NULL` means something.
pub fn template_to_json(value: Argument<'_>) -> Result<Json, Error> {
    let reader = Reader {
        argument: "job_template",
        keeps_null: true,
        // A short file with names for its parts can stand for any number of values, and each takes a byte at least.
        room: Cell::new(job_template::MOST_BYTES),
    };
    reader.convert(value, 0)
}

struct Reader {
    /// The argument that errors are about.
    argument: &'static str,
    /// Whether `NULL` elements of a list are kept.
    keeps_null: bool,
    /// How many more values there may be.
    room: Cell<usize>,
}

impl Reader {
    fn convert(&self, value: Argument<'_>, depth: usize) -> Result<Json, Error> {
        if depth > DEEPEST {
            return Err(self.refuse(&format!("is nested deeper than {DEEPEST} levels")));
        }
        if value.inherits("factor") {
            let error = self.refuse("holds a factor where text is expected");
            return Err(error.advise("Use as.character()."));
        }
        match self.room.get().checked_sub(1) {
            Some(left) => self.room.set(left),
            None => return Err(self.refuse("holds too many values")),
        }
        let elements: Vec<Json> = match value.content() {
            Content::Null => return Ok(Json::Null),
            Content::Flags(flags) => flags
                .iter()
                .map(|&flag| self.available(flag).map(|flag| Json::Bool(flag != 0)))
                .collect::<Result<_, _>>()?,
            Content::Integers(numbers) => numbers
                .iter()
                .map(|&number| self.available(number).map(Json::from))
                .collect::<Result<_, _>>()?,
            Content::Numbers(numbers) => numbers
                .iter()
                .map(|&number| self.number(number))
                .collect::<Result<_, _>>()?,
            Content::Texts(texts) => texts
                .map(|text| match text {
                    Ok(Some(text)) => Ok(Json::String(text.to_string())),
                    Ok(None) => Err(self.not_available()),
                    Err(error) => Err(Error::input(format!("Text cannot be read: {error}."))),
                })
                .collect::<Result<_, _>>()?,
            Content::List(elements) => return self.list(value, elements, depth),
            Content::Other(what) => return Err(self.unsupported(what)),
        };
        if let Some(names) = value.names() {
            return self.object(names, elements.into_iter().map(Ok));
        }
        match <[Json; 1]>::try_from(elements) {
            Ok([single]) if !value.is_list_by_itself() => Ok(single),
            Ok(single) => Ok(Json::Array(single.into())),
            Err(elements) => Ok(Json::Array(elements)),
        }
    }

    fn list(&self, list: Argument<'_>, elements: Elements<'_>, depth: usize) -> Result<Json, Error> {
        let is_empty = elements.len() == 0;
        let values = elements.map(|value| self.convert(value, depth + 1));
        match list.names() {
            Some(names) => self.object(names, values),
            // Kubernetes has empty objects (`emptyDir = list()`) where empty arrays mean nothing.
            None if is_empty => Ok(Json::Object(Map::new())),
            None => values.collect::<Result<Vec<_>, _>>().map(Json::Array),
        }
    }

    fn object(&self, names: Texts<'_>, values: impl Iterator<Item = Result<Json, Error>>) -> Result<Json, Error> {
        let mut object = Map::new();
        for (name, value) in names.zip(values) {
            let value = value?;
            let name = match name {
                Ok(Some(name)) if !name.is_empty() => name,
                Ok(_) => return Err(self.refuse("holds a list with names for some of its elements only")),
                Err(error) => return Err(Error::input(format!("A name cannot be read: {error}."))),
            };
            let is_kept = !value.is_null() || self.keeps_null;
            if is_kept && object.insert(name.to_string(), value).is_some() {
                return Err(self.refuse(&format!("holds a list with the name {} twice", quote_shortened(name))));
            }
        }
        Ok(Json::Object(object))
    }

    fn number(&self, number: f64) -> Result<Json, Error> {
        // Doubles hold every whole number up to here; Kubernetes refuses 420.0 where it wants an integer.
        const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;
        if number.is_nan() {
            return Err(self.not_available());
        }
        if number.fract() == 0.0 && number.abs() <= LARGEST_EXACT {
            return Ok(Json::from(number as i64));
        }
        Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| self.unsupported("an infinite number"))
    }

    fn available(&self, number: i32) -> Result<i32, Error> {
        match number == objects::not_available() {
            true => Err(self.not_available()),
            false => Ok(number),
        }
    }

    fn not_available(&self) -> Error {
        self.refuse("holds NA, which means nothing to Kubernetes")
    }

    fn unsupported(&self, what: &str) -> Error {
        self.refuse(&format!("holds {what}, which Kubernetes cannot take"))
    }

    fn refuse(&self, what: &str) -> Error {
        Error::input(format!("`{}` {what}.", self.argument))
    }
}
