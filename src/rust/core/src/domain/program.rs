//! A program, and how it gets into the container.

use base64::prelude::{Engine, BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::domain::mounts::{Access, Mounts};
use crate::domain::paths;
use crate::error::quote_shortened;
use crate::kubernetes::labels;
use crate::Error;

/// An R program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The path word for word as the user gave it. For the record only.
    pub given_path: String,
    /// The absolute path, without `.` and `..`.
    pub absolute_path: String,
    /// The program's bytes; `None` where nobody has read them, since it runs in a mount.
    pub bytes: Option<Vec<u8>>,
}

/// How the program gets into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSource {
    /// A mount holds it: it runs where it is, in its own folder.
    InPlace,
    /// Its text travels in an annotation of the pod, which a `downwardAPI` volume makes a file.
    Text(String),
    /// The same for bytes that are no legal text for Kubernetes, or a name that such a volume cannot have: as base64,
    /// decoded in the container.
    Base64(String),
}

/// Kubernetes' bound on the keys and values of all annotations of an object together (`TotalAnnotationSizeLimitB`).
pub const TOTAL_ANNOTATION_BYTES: usize = 256 * 1024;

/// How much of it is left to others: cancelling notes who did it, and network plugins and service meshes annotate pods with
/// some KiB, and cannot start one that has no room for it.
pub const ANNOTATION_BYTES_OF_OTHERS: usize = 16 * 1024;

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// By R itself.
    R,
    /// An R Markdown document, by `rmarkdown::render()`.
    RMarkdown,
    /// A Quarto document, by `quarto render`.
    Quarto,
}

impl Runner {
    /// That of a program, by the end of its name.
    pub fn of(file_name: &str) -> Self {
        match extension(file_name).as_str() {
            "rmd" | "rmarkdown" => Self::RMarkdown,
            "qmd" => Self::Quarto,
            _ => Self::R,
        }
    }
}

/// In lower case; empty where the name has none.
fn extension(file_name: &str) -> String {
    file_name
        .rsplit_once('.')
        .map_or_else(String::new, |(_, extension)| extension.to_ascii_lowercase())
}

/// Documents that a program of the user's own has to make, by the ends of their names.
const DOCUMENTS: [(&str, &str); 4] = [
    ("rnw", "knitr::knit2pdf()"),
    ("rtex", "knitr::knit2pdf()"),
    ("rhtml", "knitr::knit2html()"),
    ("rpres", "rmarkdown::render()"),
];

/// Ends of names that no R program has.
const NO_R: [(&[&str], &str); 20] = [
    (&["ipynb"], "a notebook"),
    (&["py"], "a Python program"),
    (&["sas"], "a SAS program"),
    (&["do", "ado"], "a Stata program"),
    (&["sps"], "an SPSS program"),
    (&["stan"], "a Stan model"),
    (&["sh", "bash", "ksh", "csh", "zsh"], "a shell script"),
    (&["bat", "cmd", "ps1"], "a Windows script"),
    (&["jl"], "a Julia program"),
    (&["pl"], "a Perl program"),
    (&["js"], "a JavaScript program"),
    (&["c", "cpp", "java", "rb"], "a program of another language"),
    (&["sql"], "SQL"),
    (&["rout", "log", "lst"], "what a program has printed"),
    (&["rdata", "rda", "rds"], "saved R objects"),
    (&["rproj"], "an RStudio project"),
    (&["sas7bdat", "xpt", "dta", "sav", "parquet"], "a data set"),
    (&["csv", "tsv", "xlsx", "xls", "json", "xml", "yaml", "yml"], "data"),
    (
        &["docx", "doc", "pptx", "rtf", "pdf", "html", "htm", "md", "tex", "png"],
        "a document",
    ),
    (
        &["zip", "gz", "tgz", "tar", "bz2", "xz", "7z"],
        "an archive or compressed data",
    ),
];

/// Beginnings of files that no R program has, what they are, and what to do.
const NO_R_BEGINNINGS: [(&[u8], &str, &str); 11] = [
    (b"\x1f\x8b", "is compressed data (gzip)", UNPACK),
    (b"BZh91AY&SY", "is compressed data (bzip2)", UNPACK),
    (b"\xfd7zXZ", "is compressed data (xz)", UNPACK),
    (b"PK\x03\x04", "is an archive (zip)", UNPACK),
    (b"RDX", "holds saved R objects", LOAD),
    (b"%PDF-", "is a PDF document", MEANT),
    (b"{\\rtf", "is an RTF document", MEANT),
    (b"<", "is a page of HTML, or XML", MEANT),
    (
        b"version https://git-lfs.github.com/spec/",
        "is a pointer of Git LFS, which stands for the file",
        "Fetch the file itself with `git lfs pull`, and submit it again.",
    ),
    (b"---\n", "begins as a document of R Markdown or Quarto does", DOCUMENT),
    (
        b"---\r\n",
        "begins as a document of R Markdown or Quarto does",
        DOCUMENT,
    ),
];
const UNPACK: &str = "Unpack it, and submit the program that is in it.";
const LOAD: &str = "Submit a program that loads that file where a mount holds it.";
const MEANT: &str =
    "Is it the file that you mean? A download may have brought a page for people, as of a login, in its place.";
const DOCUMENT: &str = "Give it the name that such a document has, which ends in .Rmd or .qmd, and submit it again.";

/// The programs of other languages that a program's first line may name, without a version.
const OTHER_INTERPRETERS: [&str; 40] = [
    "sh",
    "bash",
    "dash",
    "ash",
    "ksh",
    "mksh",
    "zsh",
    "csh",
    "tcsh",
    "fish",
    "pwsh",
    "python",
    "pypy",
    "ipython",
    "uv",
    "perl",
    "raku",
    "ruby",
    "node",
    "nodejs",
    "deno",
    "bun",
    "julia",
    "php",
    "lua",
    "luajit",
    "tclsh",
    "wish",
    "expect",
    "awk",
    "gawk",
    "mawk",
    "sed",
    "make",
    "sas",
    "stata",
    "octave",
    "scala",
    "groovy",
    "osascript",
];

/// The program of another language that the first line names, as `#!/bin/bash` and `#!/usr/bin/env python3` do.
fn other_interpreter(bytes: &[u8]) -> Option<String> {
    let first = without_byte_order_mark(bytes).strip_prefix(b"#!")?;
    let first = first.split(|byte| matches!(byte, b'\n' | b'\r')).next()?;
    let first = String::from_utf8_lossy(first);
    let words = first.split_whitespace().map(paths::file_name);
    let program = words
        .into_iter()
        .find(|word| *word != "env" && !word.starts_with('-') && !word.contains('='))?;
    let name = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    OTHER_INTERPRETERS.contains(&name).then(|| program.to_string())
}

/// Whether lines end as on the Macintosh of before 2001, by `\r` alone: for R they are one, and behind a `#` nothing is run.
fn has_lines_of_old_macs(bytes: &[u8]) -> bool {
    let hides_code = |line: &[u8]| {
        let comment = line.iter().position(|byte| *byte == b'#').map(|at| &line[at..]);
        comment.is_some_and(|comment| comment.trim_ascii_end().contains(&b'\r'))
    };
    let is_one_line = !bytes.contains(&b'\n') && bytes.trim_ascii().contains(&b'\r');
    is_one_line || bytes.split(|byte| *byte == b'\n').any(hides_code)
}

fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

impl Program {
    /// The last part of the path.
    pub fn file_name(&self) -> &str {
        paths::file_name(&self.absolute_path)
    }

    /// The folder of the program, absolute.
    pub fn folder(&self) -> &str {
        paths::split(&self.absolute_path).0
    }

    /// The SHA-256 of the program's bytes: 64 hexadecimal digits.
    pub fn sha256(&self) -> Option<String> {
        self.bytes.as_ref().map(|bytes| hexadecimal(&Sha256::digest(bytes)))
    }

    /// What tells a submission of this program from any other: the same for the same program under the same ids, so that
    /// a submission can be repeated until its outcome is known.
    pub fn submission(&self, job_id: &str, batch_id: &str) -> String {
        let parts = [job_id, batch_id, &self.given_path, &self.sha256().unwrap_or_default()].join("\n");
        hexadecimal(&Sha256::digest(parts))
    }

    /// How it is run.
    pub fn runner(&self) -> Runner {
        Runner::of(self.file_name())
    }

    /// Checks that it can be an R program, by the end of its name and by its bytes. `place`: the storage that holds it, if
    /// any does.
    ///
    /// Errors: it is surely something else, is empty, or is text that R does not read; it is a document that has no place
    /// for its output.
    pub fn check(&self, place: Option<Access>) -> Result<(), Error> {
        let refuse = |what: &str, advice: &str| {
            Err(Error::input(format!(
                "`file_path` must name an R program, and {} {what}.",
                quote_shortened(self.file_name())
            ))
            .advise(advice))
        };
        let extension = extension(self.file_name());
        if let Some((_, call)) = DOCUMENTS.iter().find(|(known, _)| *known == extension) {
            return refuse(
                "is a document that R does not run by itself",
                &format!("Write an R program that calls {call} with its path, and submit that; name the storage that holds both in `mounts`."),
            );
        }
        if let Some((_, language)) = NO_R.iter().find(|(known, _)| known.contains(&extension.as_str())) {
            return refuse(
                &format!("has the name of {language}"),
                "Submit a program that is written in R; it may read or start that file where a mount holds it.",
            );
        }
        let maker = match self.runner() {
            Runner::R => "",
            Runner::RMarkdown => "rmarkdown::render()",
            Runner::Quarto => "`quarto render`",
        };
        // rmarkdown starts pandoc by a shell, and quotes neither these nor what has none of the signs that it knows.
        let is_read_by_shell = |c: char| matches!(c, '`' | '$' | '"' | '!') || c.is_control();
        if self.runner() == Runner::RMarkdown && self.absolute_path.contains(is_read_by_shell) {
            return refuse(
                "is a document whose path has one of ` $ \" ! or a control character in it, which rmarkdown would hand to a shell",
                "Rename it, or its folder, and submit it again.",
            );
        }
        match place {
            _ if maker.is_empty() => {}
            Some(Access::Write) => {}
            Some(Access::Read) => {
                return refuse(
                    &format!("is a document in a mount that is read-only, and {maker} writes beside it"),
                    "Let `mounts` name its storage without `readOnly`, or copy the document and its folder to where a job may write.",
                )
            }
            None => {
                return refuse(
                    "is a document that no mount holds: its output would have no place, and what lies beside it would be missing",
                    &format!(
                        "Name the storage that holds it in `mounts`, or use `auto_mount_home = TRUE`: then {maker} makes it in its own folder."
                    ),
                )
            }
        }
        let Some(bytes) = &self.bytes else { return Ok(()) };
        if without_byte_order_mark(bytes).iter().all(u8::is_ascii_whitespace) {
            return refuse(
                "is empty",
                "Was it saved, and written to its end? On a share that may take a moment. Submit it again then.",
            );
        }
        let beginning = without_byte_order_mark(bytes).trim_ascii_start();
        let mut known = NO_R_BEGINNINGS.iter();
        if let Some((_, what, advice)) =
            known.find(|(known, ..)| self.runner() == Runner::R && beginning.starts_with(known))
        {
            return refuse(what, advice);
        }
        let is_utf_16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
        if is_utf_16 || bytes.contains(&0) {
            return refuse(
                match is_utf_16 {
                    true => "is text in UTF-16 or UTF-32, which R does not run",
                    false => "holds NUL bytes: it is no text, or text in UTF-16 or UTF-32, which R does not run",
                },
                "Save it as UTF-8, in RStudio by File, \"Save with Encoding...\", and submit it again.",
            );
        }
        if has_lines_of_old_macs(bytes) {
            return refuse(
                "has line ends of old Macs (CR alone), which R does not know: it would take several lines for one",
                "Save it with line ends of Unix or Windows, in RStudio by Tools, Global Options, Code, Saving, and submit it again.",
            );
        }
        if let Some(program) = other_interpreter(bytes) {
            return refuse(
                &format!("says in its first line that {} runs it", quote_shortened(&program)),
                "Submit a program that is written in R; it may start that file where a mount holds it.",
            );
        }
        Ok(())
    }

    /// The same program without a byte order mark, which R would take for a part of its first word.
    ///
    /// Errors: it has one and runs in a mount, where its file stays as it is.
    pub fn without_byte_order_mark(mut self, mounts: &Mounts) -> Result<Self, Error> {
        let Some(bytes) = &self.bytes else { return Ok(self) };
        let text = without_byte_order_mark(bytes);
        // Those that make documents know it.
        if text.len() == bytes.len() || self.runner() != Runner::R {
            return Ok(self);
        }
        if mounts.cover(&self.absolute_path) {
            return Err(Error::input(format!(
                "The program {} begins with a byte order mark, which R takes for a part of its first word, and it runs in a mount as it is.",
                quote_shortened(self.file_name())
            ))
            .advise("Save it as UTF-8 without a byte order mark (BOM), in RStudio by File, \"Save with Encoding...\", and submit it again."));
        }
        self.bytes = Some(text.to_vec());
        Ok(self)
    }

    /// How it gets into the container. An error where it is too large to be carried; `other_annotations` is what the
    /// pod's other annotations take of [`TOTAL_ANNOTATION_BYTES`].
    pub fn delivery(&self, mounts: &Mounts, other_annotations: usize) -> Result<ProgramSource, Error> {
        if mounts.cover(&self.absolute_path) {
            return Ok(ProgramSource::InPlace);
        }
        let Some(bytes) = &self.bytes else {
            return Err(Error::input(format!(
                "The program \"{}\" lies in no mount, and its text is not given.",
                self.file_name()
            ))
            .advise("Send the program's text with its path, or name the storage that holds it in `mounts`."));
        };
        let (key, delivery) = match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') && !self.file_name().starts_with("..") => {
                (labels::PROGRAM_TEXT, ProgramSource::Text(text.to_string()))
            }
            _ => (
                labels::PROGRAM_BASE64,
                ProgramSource::Base64(BASE64_STANDARD.encode(bytes)),
            ),
        };
        let (ProgramSource::Text(carried) | ProgramSource::Base64(carried)) = &delivery else {
            return Ok(delivery);
        };
        let total = carried.len() + key.len() + other_annotations;
        let most = TOTAL_ANNOTATION_BYTES - ANNOTATION_BYTES_OF_OTHERS;
        if total > most {
            let encoded = match delivery {
                ProgramSource::Base64(_) => format!(
                    ", {} once encoded because it is not UTF-8 text",
                    kibibytes(carried.len())
                ),
                _ => String::new(),
            };
            return Err(Error::input(format!(
                "The program \"{}\" is too large to be sent with the job: it has {}{encoded}, and there is room for at most {} with all else that belongs to the job.",
                self.file_name(),
                kibibytes(bytes.len()),
                kibibytes(most),
            ))
            .advise("Put it on storage that the cluster can mount and name that in `mounts` (or use `auto_mount_home = TRUE`): then it runs where it is, whatever its size."));
        }
        Ok(delivery)
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kibibytes(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

/// Whether R's own launcher would hand `path` on as it is, after `--file=`. `R` is a shell script that splits the path at
/// tabs, may read `\` as the begin of an escape, and writes spaces as `~+~` and line ends as `~n~` on the way: a path that
/// holds any of these has to be reached under another name. `*`, `?` and `[` are safe: the script expands them unquoted,
/// but nothing begins with `--file=`. (Seen with R 4.2.2.)
pub fn survives_r_launcher(path: &str) -> bool {
    let has_code = ["~+~", "~n~"].iter().any(|code| path.contains(code));
    !has_code && !path.contains('\\') && !path.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn program(path: &str, bytes: &[u8]) -> Program {
        Program {
            given_path: path.into(),
            absolute_path: path.into(),
            bytes: Some(bytes.to_vec()),
        }
    }

    #[test]
    fn parts_of_the_path() {
        let in_root = program("/a.R", b"");
        assert_eq!((in_root.folder(), in_root.file_name()), ("/", "a.R"));
        let deeper = program("/x/y/a b.R", b"");
        assert_eq!((deeper.folder(), deeper.file_name()), ("/x/y", "a b.R"));
    }

    #[test]
    fn what_is_surely_no_r_program_is_refused_with_the_way_out() {
        let utf_16: Vec<u8> = "print(1)".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let with_mark = [&b"\xff\xfe"[..], &utf_16].concat();
        for (path, bytes, word) in [
            ("/a.R", &b""[..], "is empty"),
            ("/a.R", b" \r\n\t", "is empty"),
            ("/a.R", b"\xef\xbb\xbf\n", "is empty"),
            ("/a.R", &utf_16, "NUL"),
            ("/a.R", &with_mark, "UTF-16"),
            ("/a.R", b"\xfe\xff\x4e\x2d", "UTF-16"),
            ("/a.Rmd", b"1", "document"),
            ("/a.qmd", b"1", "document"),
            ("/a.Rnw", b"1", "document"),
            ("/a.PY", b"1", "Python"),
            ("/prog.sas", b"1", "SAS"),
            ("/a.RData", b"1", "saved R objects"),
            ("/a.Rout", b"1", "has printed"),
            ("/a.R", b"# a program\rstop(1)\r", "old Macs"),
            // The code in the comment's line would not be run.
            ("/a.R", b"# a program\rstop(1)\r\n", "old Macs"),
            ("/a.R", b"x <- 1 # one\ry <- 2\nprint(x)\n", "old Macs"),
            ("/a.R", b"\x1f\x8b\x08\0", "compressed data (gzip)"),
            ("/a.R", b"PK\x03\x04\x14", "archive (zip)"),
            ("/a.R", b"RDX3\nX\n\0", "saved R objects"),
            ("/a.R", b"\n<!DOCTYPE html>\n", "page of HTML"),
            ("/a.R", b"\xef\xbb\xbf<html>", "page of HTML"),
            (
                "/a.R",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
                "Git LFS",
            ),
            ("/a.R", b"---\r\ntitle: x\r\n---\r\n", "R Markdown"),
            ("/a.R", b"#!/usr/bin/lua5.4\nprint(1)\n", "\"lua5.4\" runs it"),
            ("/run", b"#!/bin/bash\nls\n", "\"bash\" runs it"),
            (
                "/a.R",
                b"#! /usr/bin/env -S LANG=C python3.11 -u\r\n1",
                "\"python3.11\"",
            ),
        ] {
            let error = program(path, bytes).check(None).unwrap_err();
            assert!(error.message.contains(word), "{}", error.message);
            assert!(error.advice.is_some());
        }
    }

    #[test]
    fn what_may_be_an_r_program_is_not_refused() {
        for path in [
            "/a.R",
            "/a.r",
            "/a",
            "/R",
            "/a.txt",
            "/a.Rscript",
            "/a.b.q",
            "/py",
            "/sas",
        ] {
            let texts: [&[u8]; 8] = [
                b"1",
                b"# caf\xe9\n",
                b"\xef\xbb\xbf1",
                b"1\r\n2\r\n",
                b"1\r",
                b"#!/usr/bin/env Rscript\n1",
                b"#! /opt/R/4.2/bin/Rscript --vanilla\n1",
                b"#!\n#!/bin/bash\n",
            ];
            for bytes in texts {
                program(path, bytes).check(None).unwrap();
                program(path, bytes).check(Some(Access::Read)).unwrap();
            }
        }
    }

    #[test]
    fn a_document_is_run_where_it_can_write_beside_it() {
        for (path, runner, maker) in [
            ("/d/a.Rmd", Runner::RMarkdown, "rmarkdown::render()"),
            ("/d/a.rmarkdown", Runner::RMarkdown, "rmarkdown::render()"),
            ("/d/a.QMD", Runner::Quarto, "`quarto render`"),
        ] {
            // A document may begin with a byte order mark.
            let document = program(path, b"\xef\xbb\xbf---\n");
            assert_eq!(document.runner(), runner);
            document.check(Some(Access::Write)).unwrap();
            let mut mounts = Mounts::default();
            mounts.add_home("/d", "192.0.2.1");
            assert_eq!(document.clone().without_byte_order_mark(&mounts).unwrap(), document);
            let error = document.check(Some(Access::Read)).unwrap_err();
            assert!(
                error.message.contains("read-only") && error.message.contains(maker),
                "{}",
                error.message
            );
            let error = document.check(None).unwrap_err();
            assert!(error.message.contains("no mount holds"), "{}", error.message);
            assert!(error.advice.unwrap().contains(maker));
            assert!(program(path, b" ").check(Some(Access::Write)).is_err());
        }
        for path in [
            "/d/$(touch x).Rmd",
            "/d/`id`/a.Rmd",
            "/d/a\"b.Rmd",
            "/d/a\nb.Rmd",
            "/d/!a.Rmd",
        ] {
            let error = program(path, b"1").check(Some(Access::Write)).unwrap_err();
            assert!(error.message.contains("to a shell"), "{}", error.message);
        }
        program("/d/a 'b' & (c); d.Rmd", b"1")
            .check(Some(Access::Write))
            .unwrap();
        program("/d/$a.qmd", b"1").check(Some(Access::Write)).unwrap();
        assert!(program("/d/a.Rnw", b"1").check(Some(Access::Write)).is_err());
        assert_eq!(program("/d/Rmd", b"1").runner(), Runner::R);
    }

    #[test]
    fn a_byte_order_mark_is_taken_off_where_the_program_is_carried_and_refused_in_a_mount() {
        let marked = program("/d/a.R", b"\xef\xbb\xbf1\n");
        let carried = marked.clone().without_byte_order_mark(&Mounts::default()).unwrap();
        assert_eq!(carried.bytes.as_deref(), Some(&b"1\n"[..]));
        let mut mounts = Mounts::default();
        mounts.add_home("/d", "192.0.2.1");
        let error = marked.without_byte_order_mark(&mounts).unwrap_err();
        assert!(error.advice.unwrap().contains("BOM"));
    }

    #[test]
    fn fingerprint_is_sha256() {
        assert_eq!(
            program("/a.R", b"abc").sha256().unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn text_travels_as_it_is_and_other_bytes_as_base64() {
        let none = Mounts::default();
        assert_eq!(
            program("/a.R", "é\r\n".as_bytes()).delivery(&none, 0).unwrap(),
            ProgramSource::Text("é\r\n".into())
        );
        for (path, bytes) in [("/a.R", &b"\xe9"[..]), ("/a.R", b"a\0b"), ("/..a.R", b"1")] {
            assert!(matches!(
                program(path, bytes).delivery(&none, 0).unwrap(),
                ProgramSource::Base64(_)
            ));
        }
    }

    #[test]
    fn a_mounted_program_stays_where_it_is_whatever_its_size() {
        let mounts = Mounts::from_value(&json!({
            "volumes": [{"name": "d", "nfs": {}}],
            "volumeMounts": [{"name": "d", "mountPath": "/d"}],
        }))
        .unwrap();
        let large = vec![b'x'; TOTAL_ANNOTATION_BYTES * 2];
        assert_eq!(
            program("/d/a.R", &large).delivery(&mounts, 0).unwrap(),
            ProgramSource::InPlace
        );
    }

    #[test]
    fn a_program_that_nobody_has_read_runs_in_a_mount_only() {
        let unread = Program {
            bytes: None,
            ..program("/d/a.R", b"")
        };
        assert_eq!(unread.sha256(), None);
        let error = unread.delivery(&Mounts::default(), 0).unwrap_err();
        assert!(error.message.contains("no mount"), "{}", error.message);
    }

    #[test]
    fn too_large_names_the_size_and_the_way_out() {
        let bytes = vec![b'x'; 300 * 1024];
        let error = program("/a.R", &bytes).delivery(&Mounts::default(), 0).unwrap_err();
        assert!(error.message.contains("300.0 KiB"), "{}", error.message);
        assert!(error.advice.unwrap().contains("mounts"));
        // The bound is on all annotations together, and leaves room to those of others.
        let bytes = vec![b'x'; TOTAL_ANNOTATION_BYTES - ANNOTATION_BYTES_OF_OTHERS - labels::PROGRAM_TEXT.len() - 10];
        assert!(program("/a.R", &bytes).delivery(&Mounts::default(), 10).is_ok());
        assert!(program("/a.R", &bytes).delivery(&Mounts::default(), 11).is_err());
    }

    #[test]
    fn paths_that_the_launcher_changes_are_known() {
        for path in [
            "/a b.R",
            "/$(touch x).R",
            "/p%s.R",
            "/q'\"`.R",
            "/日本.R",
            "/report[1].R",
            "/a*.R",
            "/a?.R",
        ] {
            assert!(survives_r_launcher(path), "{path}");
        }
        for path in ["/a\tb.R", "/a\nb.R", "/a~+~b.R", "/~n~.R", "/a\\b.R"] {
            assert!(!survives_r_launcher(path), "{path}");
        }
    }
}
