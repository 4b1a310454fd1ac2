//! Limits of processor cores, memory and disk, in Kubernetes' notation.
//!
//! Grammar: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use crate::error::quote_shortened;
use crate::Error;

/// A limit of processor cores.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuLimit {
    /// As sent to Kubernetes.
    quantity: String,
    cores: f64,
}

impl CpuLimit {
    /// Reads a limit such as `0.5`, `2` or `500m`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |what: &str| {
            Err(
                Error::input(format!("`cpu_limit` {what}, not {}.", quote_shortened(text)))
                    .advise("Give a number of cores such as 1 or 0.5, or thousandths of a core such as \"500m\"."),
            )
        };
        let Some(cores) = parse_quantity(text) else {
            return refuse("must be a number of cores");
        };
        if cores <= 0.0 {
            return refuse("must be more than zero");
        }
        // The API server refuses what is finer than a thousandth of a core.
        let thousandths = cores * 1000.0;
        if (thousandths - thousandths.round()).abs() > 1e-6 || thousandths < 0.5 {
            return refuse("must be a whole number of thousandths of a core");
        }
        if cores > 1e6 {
            return refuse("must be a number of cores that a machine can have");
        }
        Ok(Self {
            quantity: text.to_string(),
            cores,
        })
    }

    /// Reads a limit given as a number of cores, as `0.5`.
    pub fn from_number(cores: f64) -> Result<Self, Error> {
        if !cores.is_finite() {
            return Self::parse(&cores.to_string());
        }
        // 0.1 + 0.2 is 0.30000000000000004: a number within a billionth of a thousandth is meant as that.
        let thousandths = (cores * 1000.0).round();
        if (cores * 1000.0 - thousandths).abs() > 1e-6 {
            return Self::parse(&cores.to_string());
        }
        if thousandths % 1000.0 == 0.0 {
            Self::parse(&format!("{}", thousandths / 1000.0))
        } else {
            Self::parse(&format!("{thousandths}m"))
        }
    }

    /// In Kubernetes' notation.
    pub fn quantity(&self) -> &str {
        &self.quantity
    }

    /// The same as a number of cores.
    pub fn cores(&self) -> f64 {
        self.cores
    }

    /// How many whole cores the program may keep busy: at least one.
    pub fn whole_cores(&self) -> u32 {
        // The value is positive and at most a million, so the conversion cannot overflow.
        (self.cores.floor() as u32).max(1)
    }
}

/// An amount of bytes, more than zero and not too large for Kubernetes, and the advice where it is none.
fn parse_bytes(argument: &str, of: &str, text: &str) -> Result<f64, Error> {
    let refuse = |what: &str, advice: String| {
        Err(Error::input(format!("`{argument}` {what}, not {}.", quote_shortened(text))).advise(advice))
    };
    let Some(bytes) = parse_quantity(text) else {
        return refuse(&format!("must be an amount of {of}"), USUAL_AMOUNT.into());
    };
    if bytes <= 0.0 {
        return refuse("must be more than zero", USUAL_AMOUNT.into());
    }
    if let Some(number) = text.strip_suffix('m') {
        return refuse(
            &format!("must be an amount of {of}, and 'm' means thousandths of a byte"),
            format!("Did you mean \"{number}M\"?"),
        );
    }
    // Kubernetes holds it as a 64 bit number of bytes.
    if bytes > i64::MAX as f64 {
        return refuse("must be an amount that a machine can have", USUAL_AMOUNT.into());
    }
    Ok(bytes)
}

/// Refuses an amount that is less than what is possible.
fn too_small(argument: &str, rule: &str, text: &str) -> Error {
    let advice = match text.parse::<u64>() {
        Ok(number) => format!("A number alone is bytes. Did you mean \"{number}M\"?"),
        Err(_) => USUAL_AMOUNT.into(),
    };
    Error::input(format!("`{argument}` {rule}, not {}.", quote_shortened(text))).advise(advice)
}

const USUAL_AMOUNT: &str = "Give an amount such as \"512M\", \"1G\" or \"1Gi\".";

/// No R session comes by with less disk: its log, the program and R's own temporary files need some.
const LEAST_DISK: f64 = 1024.0 * 1024.0;

/// Below this many bytes runc starts no container: "minimum memory limit allowed is 6MB".
const LEAST_MEMORY: f64 = 6.0 * 1024.0 * 1024.0;

/// A limit of memory, or of a node's disk: what the program writes outside the storage that is mounted, and its log.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteLimit {
    quantity: String,
    bytes: f64,
}

impl ByteLimit {
    /// Reads a limit of memory such as `512M`, `1G` or `1Gi`.
    pub fn of_memory(text: &str) -> Result<Self, Error> {
        let rule = "must be at least 6Mi, or no container starts";
        Self::parse("memory_limit", "memory", text, LEAST_MEMORY, rule)
    }

    /// The same of disk.
    pub fn of_disk(text: &str) -> Result<Self, Error> {
        Self::parse("disk_limit", "disk", text, LEAST_DISK, "must be at least 1Mi")
    }

    fn parse(argument: &str, of: &str, text: &str, least: f64, rule: &str) -> Result<Self, Error> {
        let bytes = parse_bytes(argument, of, text)?;
        if bytes < least {
            return Err(too_small(argument, rule, text));
        }
        Ok(Self {
            quantity: text.to_string(),
            bytes,
        })
    }

    /// In Kubernetes' notation.
    pub fn quantity(&self) -> &str {
        &self.quantity
    }

    /// The same as a number of bytes.
    pub fn bytes(&self) -> f64 {
        self.bytes
    }
}

/// The value of a Kubernetes quantity, or `None` where the text is none. Exact enough for bounds; what is sent is the
/// text itself.
pub fn parse_quantity(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits);
    if !number.contains(|c: char| c.is_ascii_digit()) || number.len() > 30 {
        return None;
    }
    let value: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            10f64.powi(exponent)
        }
    };
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    // Of `0e999` it is none, and no bound would hold it.
    Some(sign * value * factor).filter(|amount| amount.is_finite())
}

/// Whether a quota's refusal says that it would not take what is asked for even where nothing else is there: `exceeded quota:
/// NAME, requested: limits.cpu=2,pods=1, used: limits.cpu=0, limited: limits.cpu=1` (Kubernetes: `resourcequota/controller.go`).
/// Not of a quota on the number of objects: nobody can ask for less than one, and a quota of none is a pause.
pub fn is_beyond_quota(words: &str) -> bool {
    let amounts = |text: &'_ str| -> Vec<(String, f64)> {
        let amount = |pair: &str| {
            let (name, amount) = pair.split_once('=')?;
            let amount = amount.split_whitespace().next()?;
            Some((name.trim().to_string(), parse_quantity(amount)?))
        };
        text.split(',').filter_map(amount).collect()
    };
    let parts = || {
        let (_, rest) = words.split_once("requested: ")?;
        let (requested, rest) = rest.split_once(", used: ")?;
        let (_, limited) = rest.split_once("limited: ")?;
        Some((amounts(requested), amounts(limited)))
    };
    parts().is_some_and(|(requested, limited)| {
        requested
            .iter()
            .filter(|(name, _)| name != "pods" && !name.starts_with("count/"))
            .any(|(name, asked)| limited.iter().any(|(other, most)| name == other && asked > most))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_quota_never_takes_is_told_from_what_it_takes_later() {
        for (words, is_beyond) in [
            ("exceeded quota: q, requested: limits.cpu=2,pods=1, used: limits.cpu=0,pods=0, limited: limits.cpu=1500m,pods=4", true),
            ("exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0", false),
            ("exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0", false),
            ("exceeded quota: q, requested: limits.memory=2Gi, used: limits.memory=1Gi, limited: limits.memory=2Gi", false),
            ("exceeded quota: q, requested: a=?, used: a=0, limited: a=1", false),
            ("exceeded quota: q", false),
        ] {
            assert_eq!(is_beyond_quota(words), is_beyond, "{words}");
        }
    }

    #[test]
    fn cpu_limits_of_the_contract() {
        for (text, cores) in [("1", 1), ("0.5", 1), ("500m", 1), ("2500m", 2), ("16", 16), ("1e1", 10)] {
            let limit = CpuLimit::parse(text).unwrap();
            assert_eq!(limit.quantity(), text);
            assert_eq!(limit.whole_cores(), cores, "{text}");
        }
        for (number, quantity) in [(1.0, "1"), (0.5, "500m"), (0.1 + 0.2, "300m"), (0.001, "1m")] {
            assert_eq!(CpuLimit::from_number(number).unwrap().quantity(), quantity);
        }
    }

    #[test]
    fn cpu_limits_out_of_grammar_are_refused() {
        for text in [
            "", "lots", "-1", "0", "1 ", "0.0001", "1mm", "1e", "1e99", ".", "1e-9", "Inf", "٣", "0e999", "1e999",
        ] {
            assert!(CpuLimit::parse(text).is_err(), "{text}");
        }
        for number in [f64::INFINITY, f64::NAN, -1.0, 0.0, 0.0005, 1e300] {
            assert!(CpuLimit::from_number(number).is_err(), "{number}");
        }
    }

    #[test]
    fn half_a_byte_gets_a_suggestion() {
        let error = ByteLimit::of_memory("512m").unwrap_err();
        assert_eq!(error.advice.unwrap(), "Did you mean \"512M\"?");
        let error = ByteLimit::of_memory("512").unwrap_err();
        assert!(error.advice.unwrap().contains("Did you mean \"512M\"?"));
    }

    #[test]
    fn disk_limits() {
        for text in ["1Mi", "512M", "1.5Gi", "1048576"] {
            assert_eq!(ByteLimit::of_disk(text).unwrap().quantity(), text);
        }
        for text in ["", "lots", "-1G", "0", "1M ", "1000k", "10E", "512m", "2"] {
            let error = ByteLimit::of_disk(text).unwrap_err();
            assert!(error.message.starts_with("`disk_limit` must be"), "{}", error.message);
        }
        assert!(ByteLimit::of_disk("2").unwrap_err().advice.unwrap().contains("\"2M\""));
    }

    #[test]
    fn memory_limits() {
        for text in ["512M", "1G", "1Gi", "1.5Gi", "128e6", "536870912"] {
            assert_eq!(ByteLimit::of_memory(text).unwrap().quantity(), text);
        }
        for text in [
            "", "lots", "-1", "-1G", "0", "512MB", "1 G", "5M", "10E", "1e99", "Inf", "0e999",
        ] {
            assert!(ByteLimit::of_memory(text).is_err(), "{text}");
        }
    }
}
