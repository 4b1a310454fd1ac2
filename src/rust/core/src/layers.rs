//! Holds the picture in CONTRIBUTING.md true: each layer knows only those below it.

use std::fs;
use std::path::Path;

/// Each layer, and the paths of this crate that it may name beside its own.
const LAYERS: [(&str, &[&str]); 7] = [
    ("error", &[]),
    ("transport", &["error"]),
    ("kubernetes", &["error", "transport"]),
    // The domain computes with Kubernetes' objects, and makes no call.
    (
        "domain",
        &[
            "error",
            "kubernetes::objects",
            "kubernetes::cluster_objects",
            "kubernetes::queue_objects",
            "kubernetes::labels",
            "kubernetes::time",
        ],
    ),
    ("local", &["error", "domain"]),
    ("operations", &["error", "domain", "kubernetes", "local", "transport"]),
    (
        "gateway",
        &["error", "domain", "kubernetes", "local", "operations", "transport"],
    ),
];

#[test]
fn each_layer_knows_only_those_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for (layer, below) in LAYERS {
        let mut paths = vec![source.join(layer), source.join(layer).with_extension("rs")];
        while let Some(path) = paths.pop() {
            if let Ok(entries) = fs::read_dir(&path) {
                paths.extend(entries.map(|entry| entry.unwrap().path()));
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for name in text.split("crate::").skip(1) {
                // What all tests may use knows no layer. The crate's root has the error types, which begin with a capital letter.
                let of_the_root = name.trim_start_matches('{').starts_with(char::is_uppercase);
                if !of_the_root
                    && !below
                        .iter()
                        .chain([&layer, &"fuzz", &"test_folder"])
                        .any(|known| name.starts_with(known))
                {
                    let line = name.lines().next().unwrap_or_default();
                    found.push(format!("{}: crate::{line}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
