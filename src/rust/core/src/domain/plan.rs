//! The order in which the programs of a study run: who writes a file runs before who reads it.

use std::collections::BTreeMap;

use crate::error::quote_shortened;
use crate::Error;

/// A program of a plan. Files are paths, with `*` and `?` for a part of one name; a folder stands for all files in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The name by which others say that they run after it.
    pub name: String,
    /// The path of the program.
    pub program: String,
    /// The files that it reads.
    pub inputs: Vec<String>,
    /// The files that it writes.
    pub outputs: Vec<String>,
    /// The names of programs that it runs after, or their paths, or file names with or without the ending.
    pub after: Vec<String>,
}

/// The order of the programs. Rows are counted from 0, groups from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For each program the rows of those that it waits for, in order.
    pub after: Vec<Vec<usize>>,
    /// For each program its group: those of one group can run side by side, once all groups before have ended.
    pub run_group: Vec<usize>,
    /// The inputs that no program of the plan writes: the row, and the path from the root.
    pub from_elsewhere: Vec<(usize, String)>,
}

/// What the comment lines of a program say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `# abba: reads a; b`
    pub inputs: Vec<String>,
    /// `# abba: writes a; b`
    pub outputs: Vec<String>,
    /// `# abba: after a; b`
    pub after: Vec<String>,
}

impl Declared {
    /// Reads the lines of a program that are comments and begin with `abba:`.
    ///
    /// Errors: the first such line that says neither `reads`, `writes` nor `after`, or says nothing behind it; a line that
    /// is passed over would let a program run too early.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut declared = Self::default();
        // An editor may have put a byte order mark before the first line.
        let text = text.trim_start_matches('\u{feff}');
        for line in text.split(['\n', '\r']) {
            let Some(comment) = line.trim_start().strip_prefix('#') else {
                continue;
            };
            let Some((word, says)) = comment.trim_start_matches('#').split_once(':') else {
                continue;
            };
            if !word.trim().eq_ignore_ascii_case("abba") {
                continue;
            }
            let (verb, names) = says.trim().split_once(char::is_whitespace).unwrap_or_default();
            let list = match verb {
                "reads" => &mut declared.inputs,
                "writes" => &mut declared.outputs,
                "after" => &mut declared.after,
                _ => return Err(line.trim().to_string()),
            };
            let names = names.split(';').map(str::trim).filter(|name| !name.is_empty());
            list.extend(names.map(str::to_string));
        }
        Ok(declared)
    }
}

/// Puts programs in order. `folder` is the absolute path of the folder that relative paths belong to.
///
/// Errors, all of class `Input`, with the rows: two programs of one name, two that write one file, `after` a program that is
/// not in the plan or is not the only one of its name, and programs that wait for each other.
pub fn order(folder: &str, steps: &[Step]) -> Result<Plan, Error> {
    check_names(steps)?;
    let paths = |files: &[String]| -> Vec<Files> { files.iter().map(|file| Files::new(folder, file)).collect() };
    let inputs: Vec<Vec<Files>> = steps.iter().map(|step| paths(&step.inputs)).collect();
    let outputs: Vec<Vec<Files>> = steps.iter().map(|step| paths(&step.outputs)).collect();
    check_writers(steps, &outputs)?;

    let mut reasons: Vec<BTreeMap<usize, String>> = vec![BTreeMap::new(); steps.len()];
    let mut from_elsewhere = Vec::new();
    for (row, files) in inputs.iter().enumerate() {
        for (given, input) in steps[row].inputs.iter().zip(files) {
            let writers: Vec<usize> = (0..steps.len())
                .filter(|writer| outputs[*writer].iter().any(|output| output.overlap(input)))
                .collect();
            if writers.is_empty() {
                from_elsewhere.push((row, input.path.clone()));
            }
            // A program that reads its own file waits for nobody.
            for writer in writers.into_iter().filter(|writer| *writer != row) {
                reasons[row]
                    .entry(writer)
                    .or_insert_with(|| format!("reads {}", quote_shortened(given)));
            }
        }
        for name in &steps[row].after {
            let before = find(folder, steps, row, name)?;
            reasons[row].entry(before).or_insert_with(|| "by `after`".to_string());
        }
    }
    let after: Vec<Vec<usize>> = reasons.iter().map(|row| row.keys().copied().collect()).collect();
    let run_group = groups(&after).map_err(|waiting| circle_error(steps, &reasons, waiting))?;
    Ok(Plan {
        after,
        run_group,
        from_elsewhere,
    })
}

/// A program as errors name it.
pub(crate) fn row_words(steps: &[Step], row: usize) -> String {
    format!("{} (row {})", quote_shortened(&steps[row].name), row + 1)
}

/// How many of a kind an error names.
const SHOWN: usize = 5;

/// Sentences about rows, in one text.
pub(crate) fn listed(sentences: &[String]) -> String {
    let mut text = sentences[..sentences.len().min(SHOWN)].join("; ");
    if sentences.len() > SHOWN {
        text.push_str(&format!("; and {} more", sentences.len() - SHOWN));
    }
    text
}

fn check_names(steps: &[Step]) -> Result<(), Error> {
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for (row, step) in steps.iter().enumerate() {
        if let Some(first) = rows.insert(&step.name, row) {
            return Err(Error::input(format!(
                "`programs` must have each name once, and rows {} and {} are both {}.",
                first + 1,
                row + 1,
                quote_shortened(&step.name)
            ))
            .advise(
                "Give names where a program runs more than once, as in c(all = \"t_ae.R\", serious = \"t_ae.R\").",
            ));
        }
    }
    Ok(())
}

fn check_writers(steps: &[Step], outputs: &[Vec<Files>]) -> Result<(), Error> {
    let mut twice = Vec::new();
    for row in 0..steps.len() {
        for (given, output) in steps[row].outputs.iter().zip(&outputs[row]) {
            let other = (0..row).find(|other| outputs[*other].iter().any(|file| file.overlap(output)));
            if let Some(other) = other {
                twice.push(format!(
                    "{} by {} and {}",
                    quote_shortened(given),
                    row_words(steps, other),
                    row_words(steps, row)
                ));
            }
        }
    }
    match twice.is_empty() {
        true => Ok(()),
        false => Err(Error::input(format!(
            "`outputs` must each have one program that writes it, and two write {}.",
            listed(&twice)
        ))),
    }
}

/// The row of the program that a name in `after` means.
fn find(folder: &str, steps: &[Step], row: usize, name: &str) -> Result<usize, Error> {
    fn file_name(path: &str) -> &str {
        path.rsplit(['/', '\\']).next().unwrap_or(path)
    }
    let stem = |path: &str| {
        let name = file_name(path);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_string()
    };
    let path = absolute(folder, name);
    let ways: [&dyn Fn(&Step) -> bool; 4] = [
        &|step| step.name == name,
        &|step| absolute(folder, &step.program) == path,
        &|step| file_name(&step.program) == name,
        &|step| stem(&step.program) == name,
    ];
    let refuse = |words: String| {
        Err(Error::input(format!(
            "`after` must name programs of the plan, and {} names {}, {words}.",
            row_words(steps, row),
            quote_shortened(name)
        )))
    };
    for is_it in ways {
        let found: Vec<usize> = (0..steps.len()).filter(|row| is_it(&steps[*row])).collect();
        match found[..] {
            [] => {}
            [one] if one == row => return refuse("which is itself".into()),
            [one] => return Ok(one),
            [first, second, ..] => {
                return refuse(format!(
                    "which may be {} or {}",
                    row_words(steps, first),
                    row_words(steps, second)
                ))
            }
        }
    }
    refuse("which is not there".into())
}

/// For each program its group; or, where some wait for each other, the rows that could never start.
fn groups(after: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); after.len()];
    for (row, before) in after.iter().enumerate() {
        for first in before {
            followers[*first].push(row);
        }
    }
    let mut open: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut group = vec![1; after.len()];
    let mut ready: Vec<usize> = (0..after.len()).filter(|row| open[*row] == 0).collect();
    while let Some(row) = ready.pop() {
        for follower in &followers[row] {
            group[*follower] = group[*follower].max(group[row] + 1);
            open[*follower] -= 1;
            if open[*follower] == 0 {
                ready.push(*follower);
            }
        }
    }
    let waiting: Vec<usize> = (0..after.len()).filter(|row| open[*row] > 0).collect();
    match waiting.is_empty() {
        true => Ok(group),
        false => Err(waiting),
    }
}

/// The error about programs that wait for each other, with each circle in full; `waiting` are the rows that cannot start.
fn circle_error(steps: &[Step], reasons: &[BTreeMap<usize, String>], mut waiting: Vec<usize>) -> Error {
    let mut circles = Vec::new();
    while let Some(start) = waiting.first().copied() {
        // Whoever cannot start waits for another of them, so that the way back ends in a circle.
        let mut way = vec![start];
        let circle = loop {
            let last = way[way.len() - 1];
            let Some(next) = reasons[last].keys().find(|row| waiting.contains(row)).copied() else {
                break Vec::new();
            };
            match way.iter().position(|row| *row == next) {
                Some(at) => break way.split_off(at),
                None => way.push(next),
            }
        };
        if !circle.is_empty() {
            let links = circle.iter().zip(circle.iter().cycle().skip(1)).map(|(row, before)| {
                format!(
                    "{} waits for {} ({})",
                    row_words(steps, *row),
                    row_words(steps, *before),
                    reasons[*row][before]
                )
            });
            circles.push(links.collect::<Vec<_>>().join(", "));
        }
        waiting.retain(|row| !circle.contains(row) && *row != start);
    }
    let mut error = Error::input("Some programs wait for each other, so that none of them could start.")
        .advise("Mend the inputs, the outputs or `after` of one of them.");
    error.details = Some(format!("{}.", circles.join(". ")));
    error
}

/// Files that a path stands for.
struct Files {
    /// From the root, without `.` and `..`.
    path: String,
    pattern: Vec<Piece>,
    is_literal: bool,
}

/// A piece of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Letter(char),
    /// `?`: any letter of a name.
    One,
    /// `*`: any part of a name.
    Some,
    /// What is below a folder.
    All,
}

impl Piece {
    /// Whether a letter can stand in both places.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Letter(one), Self::Letter(two)) => one == two,
            (Self::Letter('/'), Self::One | Self::Some) | (Self::One | Self::Some, Self::Letter('/')) => false,
            _ => true,
        }
    }

    fn is_many(self) -> bool {
        matches!(self, Self::Some | Self::All)
    }
}

impl Files {
    fn new(folder: &str, given: &str) -> Self {
        let path = absolute(folder, given);
        let pattern = pieces(&path);
        Self {
            is_literal: pattern.iter().all(|piece| matches!(piece, Piece::Letter(_))),
            pattern,
            path,
        }
    }

    /// Whether a file can be one of both, or one is a folder that holds one of the other.
    fn overlap(&self, other: &Self) -> bool {
        if self.is_literal && other.is_literal {
            let (short, long) = match self.path.len() <= other.path.len() {
                true => (&self.path, &other.path),
                false => (&other.path, &self.path),
            };
            return long
                .strip_prefix(short.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || short.ends_with('/'));
        }
        let below = |pattern: &[Piece]| [pattern, &[Piece::Letter('/'), Piece::All]].concat();
        meet(&self.pattern, &other.pattern)
            || meet(&below(&self.pattern), &other.pattern)
            || meet(&self.pattern, &below(&other.pattern))
    }
}

fn pieces(path: &str) -> Vec<Piece> {
    path.chars()
        .map(|letter| match letter {
            '*' => Piece::Some,
            '?' => Piece::One,
            _ => Piece::Letter(letter),
        })
        .collect()
}

/// Whether a pattern with `*` and `?` stands for a file name.
pub fn matches(pattern: &str, name: &str) -> bool {
    let letters: Vec<Piece> = name.chars().map(Piece::Letter).collect();
    meet(&pieces(pattern), &letters)
}

/// Whether a path is one of those for which both patterns stand.
fn meet(one: &[Piece], two: &[Piece]) -> bool {
    // row[j]: whether what is left of `one` and two[j..] meet, from the ends to the beginnings.
    let mut below = vec![false; two.len() + 1];
    for i in (0..=one.len()).rev() {
        let mut row = vec![false; two.len() + 1];
        for j in (0..=two.len()).rev() {
            let (first, second) = (one.get(i).copied(), two.get(j).copied());
            row[j] = match (first, second) {
                (None, None) => true,
                (Some(piece), _) if piece.is_many() && below[j] => true,
                (_, Some(piece)) if piece.is_many() && row[j + 1] => true,
                (Some(first), Some(second)) if first.meets(second) => {
                    below[j + 1] || (first.is_many() && row[j + 1]) || (second.is_many() && below[j])
                }
                _ => false,
            };
        }
        below = row;
    }
    below[0]
}

/// A path from the root, without `.`, `..` and what says nothing. It need not be there.
pub(crate) fn absolute(folder: &str, path: &str) -> String {
    let is_of_windows = |path: &str| path.as_bytes().get(1) == Some(&b':') || path.starts_with("\\\\");
    let whole = match path.starts_with('/') || is_of_windows(path) {
        true => path.to_string(),
        false => format!("{folder}/{path}"),
    };
    let whole = match is_of_windows(&whole) {
        true => whole.replace('\\', "/"),
        false => whole,
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "name: inputs -> outputs", with blanks between files.
    fn steps(lines: &[&str]) -> Vec<Step> {
        let files = |text: &str| text.split_whitespace().map(str::to_string).collect();
        lines
            .iter()
            .map(|line| {
                let (name, rest) = line.split_once(':').unwrap();
                let (inputs, outputs) = rest.split_once("->").unwrap();
                Step {
                    name: name.to_string(),
                    program: format!("programs/{name}.R"),
                    inputs: files(inputs),
                    outputs: files(outputs),
                    after: Vec::new(),
                }
            })
            .collect()
    }

    fn message(lines: &[&str]) -> String {
        let error = order("/s", &steps(lines)).unwrap_err();
        [Some(error.message), error.details]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn who_reads_runs_after_who_writes() {
        let plan = order(
            "/s",
            &steps(&[
                "t_ae: adam/adae.rds adam/adsl.rds -> out/t_ae.rtf",
                "adsl: sdtm/dm.rds -> adam/adsl.rds",
                "adae: sdtm/ae.rds /s/adam/adsl.rds -> ./adam//adae.rds",
                "report: out/*.rtf -> report.pdf",
                "alone: -> ",
            ]),
        )
        .unwrap();
        assert_eq!(plan.after, [vec![1, 2], vec![], vec![1], vec![0], vec![]]);
        assert_eq!(plan.run_group, [3, 1, 2, 4, 1]);
        assert_eq!(
            plan.from_elsewhere,
            [(1, "/s/sdtm/dm.rds".into()), (2, "/s/sdtm/ae.rds".into())]
        );
    }

    #[test]
    fn a_folder_or_a_pattern_stands_for_all_its_files() {
        for (input, output, is_after) in [
            ("adam", "adam/adsl.rds", true),
            ("adam/", "adam/deep/adsl.rds", true),
            ("adam/adsl.rds", "adam", true),
            ("ada", "adam/adsl.rds", false),
            ("adam/*", "adam/adsl.rds", true),
            ("adam/*", "adam/deep/adsl.rds", true),
            ("*.rds", "adam/adsl.rds", false),
            ("*/adsl.rds", "adam/ad*", true),
            ("adam/ad??.rds", "adam/adsl.rds", true),
            ("adam/ad??.rds", "adam/adtte.rds", false),
            ("a*b", "*c", false),
            ("a*b*c", "*", true),
            ("f[1].rds", "f1.rds", false),
            ("../x/a", "/x/a", true),
            ("/", "adam/adsl.rds", true),
        ] {
            let plan = order("/s", &steps(&[&format!("w: -> {output}"), &format!("r: {input} ->")])).unwrap();
            assert_eq!(plan.after[1] == [0], is_after, "{input} {output}");
        }
    }

    #[test]
    fn circles_are_named_in_full() {
        assert_eq!(
            message(&[
                "a: z -> x",
                "b: x -> y",
                "c: y -> z",
                "d: z -> ",
                "e: g -> f",
                "f: f -> g"
            ]),
            "Some programs wait for each other, so that none of them could start. \
             \"a\" (row 1) waits for \"c\" (row 3) (reads \"z\"), \"c\" (row 3) waits for \"b\" (row 2) (reads \"y\"), \
             \"b\" (row 2) waits for \"a\" (row 1) (reads \"x\"). \
             \"e\" (row 5) waits for \"f\" (row 6) (reads \"g\"), \"f\" (row 6) waits for \"e\" (row 5) (reads \"f\")."
        );
        // One that reads its own file waits for nobody.
        assert_eq!(order("/s", &steps(&["a: x -> x"])).unwrap().run_group, [1]);
    }

    #[test]
    fn a_file_has_one_writer_and_a_program_one_name() {
        assert_eq!(
            message(&["a: -> x/1 y", "b: -> z", "c: -> x/*"]),
            "`outputs` must each have one program that writes it, and two write \"x/*\" by \"a\" (row 1) and \"c\" (row 3)."
        );
        assert!(message(&["a: -> x", "a: -> y"]).contains("rows 1 and 2 are both \"a\""));
    }

    #[test]
    fn after_takes_names_paths_and_file_names() {
        let mut plan = steps(&["first: ->", "second: ->"]);
        plan[0].program = "/p/adsl.R".into();
        for name in ["first", "/p/adsl.R", "/p/./adsl.R", "adsl.R", "adsl"] {
            plan[1].after = vec![name.into()];
            assert_eq!(order("/s", &plan).unwrap().after[1], [0], "{name}");
        }
        plan[1].after = vec!["adls".into()];
        let error = order("/s", &plan).unwrap_err().message;
        assert_eq!(
            error,
            "`after` must name programs of the plan, and \"second\" (row 2) names \"adls\", which is not there."
        );
        plan[1].after = vec!["second".into()];
        assert!(order("/s", &plan).unwrap_err().message.contains("itself"));
        plan.extend(steps(&["third: ->"]));
        plan[1].program = "/q/adsl.R".into();
        plan[1].after.clear();
        plan[2].after = vec!["adsl".into()];
        let error = order("/s", &plan).unwrap_err().message;
        assert!(
            error.ends_with("which may be \"first\" (row 1) or \"second\" (row 2)."),
            "{error}"
        );
    }

    #[test]
    fn comment_lines_say_what_a_program_reads_and_writes() {
        let text = "# abba: reads adam/adsl.rds; sdtm/*.rds\r\nx <- 1 # abba: no\n  ## abba: writes out/t 1.rtf ;\n#abba: after adsl\n\
                    #' abba: of roxygen\n# abba is good\n";
        let declared = Declared::read(text).unwrap();
        assert_eq!(declared.inputs, ["adam/adsl.rds", "sdtm/*.rds"]);
        assert_eq!(declared.outputs, ["out/t 1.rtf"]);
        assert_eq!(declared.after, ["adsl"]);
        let other = Declared::read("\u{feff}# abba: reads a\n# Abba: writes b\n# abba : after c").unwrap();
        assert_eq!([other.inputs, other.outputs, other.after], [["a"], ["b"], ["c"]]);
        for line in [
            "# abba: read x",
            "# abba:",
            "# abba: writes",
            "# abba: reads: x",
            "# ABBA: Reads x",
        ] {
            assert_eq!(Declared::read(&format!("\n {line} \n")), Err(line.to_string()));
        }
    }

    /// The groups of random graphs, against a slow and obvious way to count them.
    #[test]
    fn no_program_has_a_group_before_those_it_waits_for() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let count = random.usize(1..40);
            let after: Vec<Vec<usize>> = (0..count)
                .map(|row| (0..row).filter(|_| random.u8(..) < 30).collect())
                .collect();
            let found = groups(&after).unwrap();
            for row in 0..count {
                let expected = after[row].iter().map(|before| found[*before] + 1).max().unwrap_or(1);
                assert_eq!(found[row], expected);
            }
        }
    }
}
