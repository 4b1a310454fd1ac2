//! The plan of a study, from what its programs and a tracker say.

use serde::{Deserialize, Serialize};

use crate::domain::plan::{self, Declared, Step};
use crate::error::quote_shortened;
use crate::local::{files, program_file};
use crate::Error;

/// What a plan is made of: as many elements in each as there are programs.
#[derive(Debug, Default, Deserialize)]
pub struct PlanArguments {
    /// The names of the programs.
    pub names: Vec<String>,
    /// Their paths as the user gave them.
    pub programs: Vec<String>,
    /// Their paths, any `~` replaced.
    pub expanded_paths: Vec<String>,
    /// The files that each reads, besides those that it declares itself.
    pub inputs: Vec<Vec<String>>,
    /// The files that each writes, likewise.
    pub outputs: Vec<Vec<String>>,
    /// The programs that each runs after, likewise.
    pub after: Vec<Vec<String>>,
    /// The absolute path of the folder that relative paths of inputs and outputs belong to.
    pub folder: String,
    /// Whether programs, and inputs that no program writes, must be on this machine.
    pub check_files: bool,
}

/// A plan, in columns.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct PlanColumns {
    /// The files that each reads.
    pub inputs: Vec<Vec<String>>,
    /// The files that each writes.
    pub outputs: Vec<Vec<String>>,
    /// The names of the programs that each waits for.
    pub after: Vec<Vec<String>>,
    /// The group of each, from 1.
    pub run_group: Vec<usize>,
}

/// Puts the programs in order by what they read and write. Only files of this machine are looked at.
///
/// Errors, all of class `Input`: those of [`plan::order`], a program that cannot be read or has a comment line that begins
/// as a declaration and is none, and an input that no program writes and that is not there.
pub fn plan(arguments: &PlanArguments) -> Result<PlanColumns, Error> {
    let steps = (0..arguments.programs.len())
        .map(|row| step(arguments, row))
        .collect::<Result<Vec<Step>, Error>>()?;
    let plan = plan::order(&arguments.folder, &steps)?;
    if arguments.check_files {
        let missing: Vec<(usize, &str)> = plan
            .from_elsewhere
            .iter()
            .filter(|(_, path)| !files::is_any_there(path))
            .map(|(row, path)| (*row, path.as_str()))
            .collect();
        check_missing(&steps, &missing)?;
    }
    let names = |rows: &Vec<usize>| rows.iter().map(|row| steps[*row].name.clone()).collect();
    Ok(PlanColumns {
        after: plan.after.iter().map(names).collect(),
        run_group: plan.run_group,
        inputs: steps.iter().map(|step| step.inputs.clone()).collect(),
        outputs: steps.iter().map(|step| step.outputs.clone()).collect(),
    })
}

fn step(arguments: &PlanArguments, row: usize) -> Result<Step, Error> {
    let program = &arguments.programs[row];
    let declared = match program_file::read(program, &arguments.expanded_paths[row]) {
        Ok(file) => {
            let text = file.bytes.unwrap_or_default();
            Declared::read(&String::from_utf8_lossy(&text)).map_err(|line| {
                Error::input(format!(
                    "A comment line that begins with `abba:` must say what the program reads, writes or runs after, and {} has {}.",
                    quote_shortened(program),
                    quote_shortened(&line)
                ))
                .advise("Write `# abba: reads FILE; FILE`, `# abba: writes FILE` or `# abba: after PROGRAM`.")
            })?
        }
        Err(error) if arguments.check_files => return Err(error),
        Err(_) => Declared::default(),
    };
    // A tracker often repeats what the program says.
    let joined = |given: &[String], declared: Vec<String>| {
        let mut all: Vec<String> = Vec::new();
        for file in given.iter().cloned().chain(declared) {
            if !all.contains(&file) {
                all.push(file);
            }
        }
        all
    };
    Ok(Step {
        name: arguments.names[row].clone(),
        program: program.clone(),
        inputs: joined(&arguments.inputs[row], declared.inputs),
        outputs: joined(&arguments.outputs[row], declared.outputs),
        after: joined(&arguments.after[row], declared.after),
    })
}

fn check_missing(steps: &[Step], missing: &[(usize, &str)]) -> Result<(), Error> {
    let sentences: Vec<String> = missing
        .iter()
        .map(|(row, path)| format!("{} reads {}", plan::row_words(steps, *row), quote_shortened(path)))
        .collect();
    match sentences.is_empty() {
        true => Ok(()),
        false => Err(Error::input(format!(
            "`inputs` must be there, or be written by a program of the plan: {}.",
            plan::listed(&sentences)
        ))
        .advise(
            "Mend the path, or give the program that writes the file. With `check_files = FALSE` files are taken to be \
             there that only the cluster sees.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_folder::Folder;

    fn arguments(folder: &Folder, programs: &[(&str, &str)]) -> PlanArguments {
        let paths: Vec<String> = programs.iter().map(|(name, _)| folder.path(name)).collect();
        for (path, (_, text)) in paths.iter().zip(programs) {
            fs::write(path, text).unwrap();
        }
        let none = vec![Vec::new(); programs.len()];
        PlanArguments {
            names: programs.iter().map(|(name, _)| (*name).to_string()).collect(),
            expanded_paths: paths.clone(),
            programs: paths,
            inputs: none.clone(),
            outputs: none.clone(),
            after: none,
            folder: folder.display().to_string(),
            check_files: true,
        }
    }

    #[test]
    fn programs_and_a_tracker_are_read_together() {
        let folder = Folder::new();
        let mut given = arguments(
            &folder,
            &[
                ("b.R", "# abba: reads x.rds\n# abba: writes t.rtf"),
                ("a.R", "# abba: writes x.rds"),
                ("c.R", "# abba: after b"),
            ],
        );
        given.inputs[0] = vec!["x.rds".into(), "raw/d?.csv".into()];
        let error = plan(&given).unwrap_err();
        assert_eq!(
            error.message,
            format!(
                "`inputs` must be there, or be written by a program of the plan: \"b.R\" (row 1) reads \"{}\".",
                folder.path("raw/d?.csv")
            )
        );
        fs::create_dir(folder.path("raw")).unwrap();
        assert!(plan(&given).is_err());
        fs::write(folder.path("raw/dm.csv"), "").unwrap();
        let columns = plan(&given).unwrap();
        assert_eq!(columns.inputs[0], ["x.rds", "raw/d?.csv"]);
        assert_eq!(columns.after, [vec!["a.R"], vec![], vec!["b.R"]]);
        assert_eq!(columns.run_group, [2, 1, 3]);
    }

    #[test]
    fn files_that_only_the_cluster_sees_are_taken_to_be_there_if_wanted() {
        let folder = Folder::new();
        let mut given = arguments(&folder, &[("a.R", "")]);
        given.inputs[0] = vec!["/studies/nowhere".into()];
        given.expanded_paths[0] = "/studies/a.R".into();
        assert!(plan(&given).is_err());
        given.check_files = false;
        assert_eq!(plan(&given).unwrap().run_group, [1]);
    }

    #[test]
    fn a_declaration_that_is_none_is_refused() {
        let folder = Folder::new();
        let given = arguments(&folder, &[("a.R", "x\n# abba: read x.rds")]);
        assert!(plan(&given)
            .unwrap_err()
            .message
            .ends_with("has \"# abba: read x.rds\"."));
    }
}
