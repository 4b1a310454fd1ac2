//! The files of records: their names, and what is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::dsse::Envelope;
use crate::domain::record::{is_absolute, Resource, Role, Statement};
use crate::domain::{paths, plan};
use crate::local::files;

/// A record as it was read from its file.
#[derive(Clone, Debug)]
pub(super) struct RecordFile {
    /// The folder that it is in.
    pub folder: String,
    /// The file's name without its ending.
    pub name: String,
    /// What it says.
    pub statement: Statement,
    /// What it is signed in, if it is.
    pub envelope: Option<Envelope>,
}

impl RecordFile {
    /// Where a file is that it names, without links: so it is known however its path was written, and in a study that has
    /// moved, too. `None` where the record does not say.
    pub(super) fn identity(&self, resource: &Resource) -> Option<PathBuf> {
        resource.annotations.path.as_ref()?;
        Some(files::identity(Path::new(&path_of(&self.folder, resource))))
    }
}

/// The absolute path of a file of a record in a folder.
pub(super) fn path_of(folder: &str, resource: &Resource) -> String {
    match &resource.annotations.path {
        Some(path) if is_absolute(path) => path.clone(),
        Some(path) => plan::absolute(folder, path),
        None => plan::absolute(folder, &resource.name),
    }
}

/// Reads the record `NAME.json` in a folder; `None` where there is no such file.
///
/// Errors: it is there, and is no record or cannot be read.
pub(super) fn read(folder: &Path, name: &str) -> io::Result<Option<RecordFile>> {
    /// No record is larger: it has a line for each event and file.
    const LARGEST: u64 = 256 * 1024 * 1024;
    let path = folder.join(format!("{name}.json"));
    let json = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() || metadata.len() > LARGEST => {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(_) => fs::read(&path)?,
    };
    let envelope = Envelope::read(&json);
    let body = envelope.as_ref().map_or(Some(json), Envelope::body);
    let statement = body
        .and_then(|body| Statement::read(&body))
        .filter(|statement| {
            statement
                .subject
                .first()
                .is_some_and(|log| log.annotations.role == Role::Log)
        })
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(RecordFile {
        folder: folder.to_string_lossy().into_owned(),
        name: name.to_string(),
        statement,
        envelope,
    }))
}

/// The names of files in a folder that have an ending, without it, in order.
///
/// Errors: the folder cannot be read.
pub(super) fn names(folder: &Path, ending: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(ending));
        names.extend(name.filter(|name| !name.is_empty()).map(str::to_string));
    }
    names.sort();
    Ok(names)
}

/// The name of a program's files: that which its plan gives it, else that of its file without the ending. Nothing in it
/// leads to another folder, or means something to a file system.
pub(super) fn base_name(given: Option<&str>, statement: &Statement) -> String {
    let program = statement
        .of_role(Role::Program)
        .next()
        .map_or("", |program| &program.name);
    let file = paths::file_name(program);
    safe_name(given.unwrap_or(file.rsplit_once('.').map_or(file, |(stem, _)| stem)))
}

/// A text as the name of a file.
pub(super) fn safe_name(text: &str) -> String {
    /// A name has 255 bytes at most, with its number and its ending.
    const LONGEST: usize = 200;
    let replaced: String = text
        .chars()
        .map(|c| match c {
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .collect();
    let end = (0..=LONGEST.min(replaced.len()))
        .rev()
        .find(|end| replaced.is_char_boundary(*end))
        .unwrap_or(0);
    // Windows takes away what stands at the end, and a point at the beginning hides a file.
    let trimmed = replaced[..end].trim_end_matches(['.', ' ']);
    let is_device = ["CON", "PRN", "AUX", "NUL"].iter().any(|device| {
        trimmed
            .split('.')
            .next()
            .unwrap_or_default()
            .eq_ignore_ascii_case(device)
    });
    match trimmed {
        "" => "job".into(),
        name if name.starts_with('.') || is_device => format!("_{name}"),
        name => name.into(),
    }
}

/// The name of the nth record of a name.
pub(super) fn numbered(base: &str, number: usize) -> String {
    match number {
        1 => base.to_string(),
        number => format!("{base}-{number}"),
    }
}

/// The path of a file below a folder, both absolute; `None` where it is not below it.
pub(super) fn relative(folder: &str, path: &str) -> Option<String> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?.strip_prefix('/')?;
    (!rest.is_empty()).then(|| rest.to_string())
}

/// The way from a folder to a file, both absolute, over `..` where it must be; `None` where there is none, as between the
/// drives of Windows.
pub(super) fn way(folder: &str, path: &str) -> Option<String> {
    let parts = |path: &str| -> Option<Vec<String>> {
        (path.starts_with('/') && !path.starts_with("//")).then(|| {
            path.split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_string)
                .collect()
        })
    };
    let (from, to) = (parts(folder)?, parts(path)?);
    let common = from.iter().zip(&to).take_while(|(one, two)| one == two).count();
    let up = from[common..].iter().map(|_| "..".to_string());
    Some(up.chain(to[common..].iter().cloned()).collect::<Vec<_>>().join("/"))
}
