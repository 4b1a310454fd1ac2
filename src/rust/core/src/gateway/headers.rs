//! The headers of a request.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::quote_shortened;
use crate::Error;

/// The headers of a request, by their names as they were sent. Names are compared without their case (RFC 9110, 5.1).
#[derive(Clone, Default, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Headers {
    fields: Vec<(String, String)>,
}

impl From<BTreeMap<String, String>> for Headers {
    fn from(fields: BTreeMap<String, String>) -> Self {
        Self::new(fields)
    }
}

impl Headers {
    /// Headers of names and values. A name that was sent several times stands here once, with its values and commas between
    /// them, as RFC 9110 (5.3) has it.
    pub fn new(fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let fields = fields.into_iter();
        Self {
            fields: fields.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
        }
    }

    /// The value of a header. `name` is in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(other, _)| other == name)?;
        Some(value)
    }

    /// The value of a header that must not be sent twice, because a proxy sets it, or because two readers of it could take
    /// two values. `name` is in lower case.
    ///
    /// Errors: it was.
    pub fn single(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut values = self.fields.iter().filter(|(other, _)| other == name);
        let value = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() || value.is_some_and(|value| value.contains(',')) {
            return Err(
                Error::input(format!("The request has the header {} twice.", quote_shortened(name)))
                    .meaning("Nothing was done.")
                    .advise("Send it once, with one value."),
            );
        }
        Ok(value)
    }

    /// Refuses names with an underscore. CGI and its heirs (R's web servers among them) make one name of `A-B` and `A_B`, so
    /// that a caller could send a second value for what a proxy before the server has set; nginx drops such names for this
    /// reason: <https://nginx.org/en/docs/http/ngx_http_core_module.html#underscores_in_headers>
    pub fn check_names(&self) -> Result<(), Error> {
        let Some((name, _)) = self.fields.iter().find(|(name, _)| name.contains('_')) else {
            return Ok(());
        };
        Err(Error::input(format!(
            "The request has the header {}, and the abba server takes no names with an underscore.",
            quote_shortened(name)
        ))
        .meaning("Nothing was done.")
        .advise(
            "Leave it out. If a proxy before the server adds it, its administrator can keep it from doing so (Apache's \
             mod_auth_openidc: `OIDCPassClaimsAs environment`).",
        ))
    }

    /// Whether a header says that a proxy has passed the request on.
    pub fn is_forwarded(&self) -> bool {
        let others = ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip"];
        self.fields
            .iter()
            .any(|(name, _)| name.starts_with("x-forwarded") || others.contains(&name.as_str()))
    }
}

/// Values may be secrets.
impl std::fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.fields.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn headers(fields: &[(&str, &str)]) -> Headers {
        Headers::new(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn a_name_with_an_underscore_stands_for_no_other() {
        let both = headers(&[
            ("RStudio-Connect-Credentials", "a"),
            ("RStudio_Connect_Credentials", "b"),
        ]);
        assert_eq!(both.get("rstudio-connect-credentials"), Some("a"));
        for name in [
            "Content_Length",
            "X_Forwarded_For",
            "Plumber_Shared-Secret",
            "_",
            "Anything_Else",
        ] {
            let error = headers(&[("Host", "x"), (name, "b")]).check_names().unwrap_err();
            assert!(error.message.contains(&name.to_lowercase()), "{}", error.message);
        }
        headers(&[("Host", "x_y"), ("X-A", "_")]).check_names().unwrap();
    }

    #[test]
    fn a_header_that_is_sent_twice_is_refused_where_one_value_counts() {
        for twice in [
            headers(&[("Host", "a"), ("host", "b")]),
            headers(&[("HOST", "a,b")]),
            headers(&[("host", ",")]),
        ] {
            assert!(twice.single("host").is_err());
        }
        assert_eq!(headers(&[("Host", "a")]).single("host").unwrap(), Some("a"));
        assert_eq!(headers(&[]).single("host").unwrap(), None);
    }

    #[test]
    fn the_values_are_not_shown() {
        assert_eq!(
            format!("{:?}", headers(&[("Authorization", "Key x")])),
            "[\"authorization\"]"
        );
    }
}
