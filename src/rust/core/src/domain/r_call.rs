//! A submission written down as the R call that would make it.

use serde_json::Value;

use crate::domain::job_name;

/// How a user submits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road<'a> {
    /// From a machine with kubectl, by `abba_submit_k8s_job_local()`.
    Local {
        /// The namespace that the user has given.
        namespace: Option<&'a str>,
    },
    /// Through an abba API, by `abba_submit_job()`. Namespace, account and the server of the home folders are the API's to
    /// know.
    Api,
}

/// The call that submits the arguments that a job keeps (see [`crate::kubernetes::labels::ARGUMENTS`]) by a road, as R code on
/// one line, with `memory_limit` doubled: for a program that ran out of memory. Arguments that have their defaults are left
/// out; `container` is always there, since its default is an option of the session, and so is `namespace` where one is
/// given.
///
/// `None` where `arguments` are not such arguments.
pub fn with_twice_the_memory(arguments: &str, road: Road<'_>) -> Option<String> {
    let kept: Value = serde_json::from_str(arguments).ok()?;
    let text = |name: &str| kept[name].as_str().filter(|text| !text.is_empty());
    let given_path = text("given_path")?;
    let expanded_path = text("expanded_path").unwrap_or(given_path);
    let path = match road {
        // A relative path means something in the working directory of then only.
        Road::Local { .. } if !given_path.starts_with(['/', '~']) => expanded_path,
        // The API does not know where on the caller's machine that directory was.
        Road::Local { .. } | Road::Api => given_path,
    };
    let mut call = vec![string(path)];
    let mut add = |name: &str, value: String| call.push(format!("{name} = {value}"));
    let file_name = expanded_path.rsplit('/').next().unwrap_or_default();
    if let Some(batch_id) = text("batch_group_id").filter(|id| !job_name::is_own_batch_id(id, file_name)) {
        add("batch_group_id", string(batch_id));
    }
    if let Some(tag) = text("user_tag") {
        add("user_tag", string(tag));
    }
    if kept["cpu_limit"].as_f64() != Some(1.0) {
        add("cpu_limit", value(&kept["cpu_limit"])?);
    }
    add("memory_limit", string(&twice(text("memory_limit")?)?));
    add("container", string(text("container")?));
    if !kept["mounts"].is_null() {
        add("mounts", value(&kept["mounts"])?);
    }
    if kept["auto_mount_home"].as_bool() == Some(true) {
        add("auto_mount_home", "TRUE".into());
    }
    if let Road::Local { namespace } = road {
        if let Some(server) = text("home_nfs_ip_address").filter(|_| kept["auto_mount_home"].as_bool() == Some(true)) {
            add("home_nfs_ip_address", string(server));
        }
        if let Some(namespace) = namespace {
            add("namespace", string(namespace));
        }
        if let Some(user) = text("username") {
            add("username", string(user));
        }
    }
    if !kept["time_limit_seconds"].is_null() {
        add("time_limit_seconds", value(&kept["time_limit_seconds"])?);
    }
    let verb = match road {
        Road::Local { .. } => "abba_submit_k8s_job_local",
        Road::Api => "abba_submit_job",
    };
    Some(format!("{verb}({})", call.join(", ")))
}

/// A quantity like `512M`, twice.
fn twice(quantity: &str) -> Option<String> {
    let unit_begins = quantity
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .map_or(0, |last| last + 1);
    let (number, unit) = quantity.split_at(unit_begins);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then(|| format!("{}{unit}", 2.0 * number))
}

/// Text as an R string: nothing in it can end the string or the line.
fn string(text: &str) -> String {
    quoted(text, '"')
}

fn quoted(text: &str, quote: char) -> String {
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => {
                quoted.push('\\');
                quoted.push(c);
            }
            // Control characters, and those that change the direction of what is shown.
            c if c.is_control()
                || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}') =>
            {
                quoted.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

/// JSON as an R value that the package turns into the same JSON again. `None` for `null` within it, which R lists that
/// become JSON do not have.
fn value(json: &Value) -> Option<String> {
    Some(match json {
        Value::Null => return None,
        Value::Bool(true) => "TRUE".into(),
        Value::Bool(false) => "FALSE".into(),
        Value::Number(number) => match number.as_f64() {
            // R prints and reads a whole number without ".0".
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => format!("{whole:.0}"),
            _ => number.to_string(),
        },
        Value::String(text) => string(text),
        // An empty list means an empty object.
        Value::Array(elements) if elements.is_empty() => "character()".into(),
        Value::Array(elements) => list(elements.iter().map(value).collect::<Option<Vec<_>>>()?),
        Value::Object(object) => list(
            object
                .iter()
                .map(|(name, json)| Some(format!("{} = {}", list_name(name), value(json)?)))
                .collect::<Option<Vec<_>>>()?,
        ),
    })
}

fn list(elements: Vec<String>) -> String {
    format!("list({})", elements.join(", "))
}

/// A name in an R list; in backticks where it is no name by itself.
fn list_name(name: &str) -> String {
    const RESERVED: [&str; 13] = [
        "if", "else", "repeat", "while", "function", "for", "next", "break", "in", "TRUE", "FALSE", "NULL", "Inf",
    ];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        && !name.starts_with("NA")
        && !name.starts_with("NaN")
        && !RESERVED.contains(&name);
    match plain {
        true => name.to_string(),
        false => quoted(name, '`'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(change: impl FnOnce(&mut Value)) -> String {
        let mut arguments = json!({
            "given_path": "/p/a.R", "expanded_path": "/p/a.R",
            "batch_group_id": "a-0c7a11b2-6a55-4c5e-9d1c-0d8a3c9f5b10", "user_tag": "", "cpu_limit": 1.0,
            "memory_limit": "512M", "container": "r:1", "mounts": null, "auto_mount_home": false,
            "home_nfs_ip_address": null, "username": null, "time_limit_seconds": null, "job_id": null,
        });
        change(&mut arguments);
        arguments.to_string()
    }

    const LOCAL: Road<'_> = Road::Local { namespace: None };

    #[test]
    fn defaults_are_left_out() {
        assert_eq!(
            with_twice_the_memory(&kept(|_| {}), LOCAL).unwrap(),
            r#"abba_submit_k8s_job_local("/p/a.R", memory_limit = "1024M", container = "r:1")"#
        );
    }

    #[test]
    fn all_that_was_given_is_there() {
        let arguments = kept(|kept| {
            kept["given_path"] = json!("a.R");
            kept["batch_group_id"] = json!("Study_1");
            kept["user_tag"] = json!("say \"100%\" \\ `x`");
            kept["cpu_limit"] = json!("500m");
            kept["memory_limit"] = json!("1.5Gi");
            kept["mounts"] = json!({
                "volumes": [{"name": "d", "emptyDir": {}, "a/b": [1, 2.5, true]}, {"name": "e", "items": []}],
                "volumeMounts": [{"name": "d", "mountPath": "/d", "if": "x"}],
            });
            kept["auto_mount_home"] = json!(true);
            kept["home_nfs_ip_address"] = json!("192.0.2.1");
            kept["username"] = json!("mike");
            kept["time_limit_seconds"] = json!(60.0);
        });
        let namespace = Some("rstudio");
        assert_eq!(
            with_twice_the_memory(&arguments, Road::Local { namespace }).unwrap(),
            concat!(
                r#"abba_submit_k8s_job_local("/p/a.R", batch_group_id = "Study_1", user_tag = "say \"100%\" \\ `x`", "#,
                r#"cpu_limit = "500m", memory_limit = "3Gi", container = "r:1", "#,
                r#"mounts = list(volumes = list(list(name = "d", emptyDir = list(), `a/b` = list(1, 2.5, TRUE)), "#,
                r#"list(name = "e", items = character())), "#,
                r#"volumeMounts = list(list(name = "d", mountPath = "/d", `if` = "x"))), auto_mount_home = TRUE, "#,
                r#"home_nfs_ip_address = "192.0.2.1", namespace = "rstudio", username = "mike", time_limit_seconds = 60)"#
            )
        );
        assert_eq!(
            with_twice_the_memory(&arguments, Road::Api).unwrap(),
            concat!(
                r#"abba_submit_job("a.R", batch_group_id = "Study_1", user_tag = "say \"100%\" \\ `x`", "#,
                r#"cpu_limit = "500m", memory_limit = "3Gi", container = "r:1", "#,
                r#"mounts = list(volumes = list(list(name = "d", emptyDir = list(), `a/b` = list(1, 2.5, TRUE)), "#,
                r#"list(name = "e", items = character())), "#,
                r#"volumeMounts = list(list(name = "d", mountPath = "/d", `if` = "x"))), auto_mount_home = TRUE, "#,
                r#"time_limit_seconds = 60)"#
            )
        );
    }

    #[test]
    fn a_path_of_another_system_has_its_own_batch_id_too() {
        let arguments = kept(|kept| {
            kept["given_path"] = json!("C:\\p\\a.R");
            kept["expanded_path"] = json!("/a.R");
        });
        assert_eq!(
            with_twice_the_memory(&arguments, Road::Api).unwrap(),
            r#"abba_submit_job("C:\\p\\a.R", memory_limit = "1024M", container = "r:1")"#
        );
    }

    #[test]
    fn no_text_can_end_its_string() {
        assert_eq!(string("\"); q()\n#\u{7}\u{202e}é"), r#""\"); q()\n#\u{7}\u{202e}é""#);
        assert_eq!(list_name("a`b\\"), r"`a\`b\\`");
    }

    #[test]
    fn a_quantity_doubles_in_its_unit() {
        for (one, two) in [("512M", "1024M"), ("1.5Gi", "3Gi"), ("1000", "2000"), ("0.25G", "0.5G")] {
            assert_eq!(twice(one).as_deref(), Some(two));
        }
        assert_eq!(twice("lots"), None);
    }

    #[test]
    fn what_a_job_does_not_keep_makes_no_call() {
        for road in [LOCAL, Road::Api] {
            assert_eq!(with_twice_the_memory("", road), None);
            assert_eq!(with_twice_the_memory("{}", road), None);
        }
    }
}
