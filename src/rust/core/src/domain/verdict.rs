//! The verdict of a log: whether R printed errors or warnings in it.
//!
//! A program that ends with status 0 is Succeeded for Kubernetes, also where `options(error = )`, `try()` or a lost worker
//! let R go on after an error. The verdict stands beside that status and never changes it.
//!
//! R prints its messages in the language of its session. The texts are those of R's own catalogues (`R.mo` and
//! `R-parallel.mo` of R 4.2) and what R 4.2 prints with them; those that R leaves in English in a language need no entry.

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::domain::job_status::{self, Status};
use crate::error::quote_shortened;
use crate::kubernetes::objects::Pod;
use crate::Error;

/// What a program's end and its log say of its work, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// R printed neither errors nor warnings.
    Clean,
    /// R printed warnings.
    Warnings,
    /// R printed errors, or ended with an error.
    Errors,
    /// The program was killed: by a signal, for its memory, at its time limit, with its node.
    Killed,
}

impl Verdict {
    /// Its name, as users read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Warnings => "warnings",
            Self::Errors => "errors",
            Self::Killed => "killed",
        }
    }
}

/// A verdict and the line that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// The first line of the worst kind, shortened; `None` where no line says so.
    pub line: Option<String>,
    /// Whether a program that Kubernetes calls Succeeded did not do all its work: R printed an error, or lost the results
    /// of a worker.
    pub work_is_missing: bool,
}

/// The kinds of lines, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Warning,
    LostResults,
    Error,
}

/// The beginnings of R's errors; `%s` is any text.
const ERRORS: &[&str] = &[
    "Error in %s : ",
    // rlang's, whose message follows on the next line.
    "Error in `%s`:",
    "Error: ",
    // try()'s, in every language, where the error has no call.
    "Error : ",
    "Error during wrapup: ",
    "Fatal error: ",
    " *** caught ",
    "Fejl i %s : ",
    "Fejl: ",
    "Fatal fejl: ",
    "Fehler in %s : ",
    "Fehler: ",
    "Fehler während wrapup: ",
    "Fataler Fehler: ",
    "Error en %s : ",
    "Error durante el wrapup: ",
    "Error fatal: ",
    "Erreur dans %s : ",
    "Erreur : ",
    "Erreur pendant l'emballage (wrapup) : ",
    "Erreur fatale : ",
    "Errore in %s : ",
    "Errore: ",
    "Errore durante wrapup: ",
    "Errore irreversibile: ",
    " 以下にエラー %s : ",
    " %s でエラー: ",
    " エラー: ",
    " wrapup 中にエラーが起こりました: ",
    " 致命的なエラーです: ",
    "다음에 오류가 있습니다%s : ",
    "%s에서 다음과 같은 에러가 발생했습니다:",
    "에러: ",
    "치명적 에러: ",
    "Klaida, esanti %s : ",
    "Klaida: ",
    "Klaida užbaigiant: ",
    "Lemtingoji klaida: ",
    "Feil i %s : ",
    "Feil: ",
    "Feil ved wrapup: ",
    "Kritisk feil: ",
    "Błąd w%s : ",
    "Błąd w poleceniu '%s':",
    "BŁĄD: ",
    "Błąd podczas tworzenia skrótów:",
    "Błąd krytyczny: ",
    "Erro em %s : ",
    "Erro: ",
    "Erros durante o embrulho: ",
    "Erro fatal: ",
    "Ошибка в %s :",
    "Ошибка: ",
    "Ошибка во время создания сводки: ",
    "Фатальная ошибка: ",
    "Hata oluştu: %s : ",
    "Hata: ",
    "wrapup sırasında hata: ",
    "Ölümcül hata: ",
    "错误于%s : ",
    "错误: ",
    "收捲时出错: ",
    "致命错误:",
    "錯誤在%s : ",
    "錯誤發生在 %s：",
    "錯誤: ",
    "收捲時發生錯誤: ",
    "嚴重錯誤：",
];

/// R's whole last line after an error.
const HALTED: &[&str] = &[
    "Execution halted",
    "Kørsel stoppet",
    "Ausführung angehalten",
    "Ejecución interrumpida",
    "Exécution arrêtée",
    "Esecuzione interrotta",
    " 実行が停止されました",
    "실행이 정지되었습니다",
    "Vykdymas sustabdytas",
    "Stoppa køyring",
    "Wykonywanie wstrzymane",
    "Execução interrompida",
    "Выполнение остановлено",
    "Çalıştırma durduruldu",
    "停止执行",
    "停止執行",
];

/// The beginnings of R's warnings, and of its words where it has many of them.
const WARNINGS: &[&str] = &[
    "Warning in %s : ",
    "Warning: ",
    "There were %s or more warnings (use warnings()",
    "There were %s warnings (use warnings()",
    "There was %s warning (use warnings()",
    "Lost warning messages",
    "Advarsel i %s : ",
    "Advarsel: ",
    "Der var %s (brug warnings()",
    "Mistede advarselsbeskeder",
    // R's German text has no colon.
    "Warnung in %s) ",
    "Warnung: ",
    "Es gab %s (Anzeige %s warnings())",
    "Warnmeldungen verloren",
    "Mensajes de aviso perdidos",
    "Avis dans %s : ",
    "Avis : ",
    "Il y a eu %s avis %s(utilisez warnings()",
    "Messages d'avis perdus",
    "Avvertimento in %s: ",
    "Avvertimento: ",
    "Ci sono %s avvertimenti (utilizza warnings()",
    "C'è stato %s avvertimento (utilizza warnings()",
    "Avvertimenti persi",
    " %s で警告がありました: ",
    " 警告: ",
    " %sの警告がありました (",
    " %s件以上の警告がありました (",
    " 警告メッセージが失われました",
    "%s에서 경고가 발생했습니다 : ",
    "경고: ",
    "%s warnings()를 이용하시길 바랍니다)",
    "경고메시지들이 손실되었습니다",
    "Įspėjimas %s : ",
    "DĖMESIO!: ",
    "Buvo %s įspėjimų (naudokite warnings()",
    "Tai buvo %s (naudokite warnings()",
    "Prarasti įspėjamieji pranešimai",
    "Tapt åtvaringsmelding",
    "Ostrzeżenie w poleceniu '%s':",
    "Ostrzeżenie: ",
    "Było %s (użyj 'warnings()'",
    "Były %s (użyj 'warnings()'",
    "Utracono komunikaty ostrzegawcze",
    "Mensagens de aviso perdidas",
    "Предупреждение в %s : ",
    "Предупреждение: ",
    "Было %s (введите warnings()",
    "Потерянные предупреждения",
    "Kayıp uyarı mesajları",
    "警告信息丢失",
    "%s 中的警告： ",
    "警告： ",
    "警告多於 %s (用 warnings()",
    "共有 %s 個警告 (用 warnings()",
    "警告訊息遺失",
];

/// R's whole lines above its warnings.
const WARNING_HEADERS: &[&str] = &[
    "Warning message:",
    "Warning messages:",
    "Advarselsbesked:",
    "Advarselsbeskeder:",
    "Warnmeldung:",
    "Warnmeldungen:",
    "Message d'avis :",
    "Messages d'avis :",
    "Messaggio di avvertimento:",
    "Messaggi di avvertimento:",
    " 警告メッセージ:",
    "경고메시지(들):",
    "Įspėjantysis pranešimas:",
    "Įspėjantieji pranešimai:",
    "Įspėjančių pranešimų:",
    "Komunikat ostrzegawczy:",
    "Komunikaty ostrzegawcze:",
    "Предупреждение:",
    "Предупреждения:",
    "警告訊息：",
];

/// R's words before such a line where an error stands above it.
const IN_ADDITION: &[&str] = &[
    "In addition: ",
    "Zusätzlich: ",
    "Además: ",
    "De plus : ",
    "In aggiunta: ",
    " 追加情報: ",
    "추가정보: ",
    "Be to: ",
    "I tillegg: ",
    "Dodatkowo: ",
    "Além disso: ",
    "Вдобавок: ",
    "Ek olarak: ",
    "此外: ",
];

/// The warnings of `mclapply()`, `mccollect()` and `pvec()` of the package parallel about workers whose results are lost or
/// are errors. R indents them, or puts them behind the call where the line is short.
const LOST_RESULTS: &[&str] = &[
    "scheduled core%s did not deliver ",
    "scheduled core%s encountered error",
    "all scheduled cores encountered errors in user code",
    "%s parallel function call did not deliver a result",
    "%s parallel function calls did not deliver results",
    "%s parallel job did not deliver a result",
    "%s parallel jobs did not deliver results",
    "some results may be missing, folded or caused an error",
    "alle planlagte kerner mødte fejl i brugerkode",
    "alle verplanten Kerne berichten Fehler im Benutzerkode",
    "eingeplante%s Fehler in Benutzerkode, ",
    "tous les coeurs qui ont été programmés ont trouvé des erreurs dans le code utilisateur",
    "le coeur programmé %s n’a pas renvoyé de résultat",
    "les coeurs programmés %s n’ont pas renvoyé de résultats",
    "le coeur programmé %s a rencontré une erreur dans le code utilisateur",
    "les coeurs programmés %s ont rencontré des erreurs dans le code utilisateur",
    "tutti i core schedulati hanno riscontrato errori nel codice utente",
    "il core pianificato %s nel codice utente",
    "il core pianificato %s non ha distribuito risultati",
    "i core pianificati %s nel codice utente",
    "i core pianificati %s non hanno distribuito risultati",
    "모든 예약된 코어들은 사용자코드내 에러를 접했습니다",
    "visi suplanuoti branduoliai aptiko klaidas vartotojo kode",
    "suplanuotas branduolys %s nepateikė rezultat",
    "suplanuotas branduolys %s vartotojo kode",
    "wszystkie zaplanowane jądra napotkały błędy w kodzie użytkownika",
    "zaplanowane jądr%s w kodzie użytkownika",
    "все запланированные ядра столкнулись с ошибкой в пользовательском коде",
    "%s столкнулось с ошибкой в пользовательском коде, ",
    "%s столкнулись с ошибкой в пользовательском коде, ",
    "用户代码中所有预定的核心都出了错",
    "预定内核%s的用户代码中出了错",
    "使用者程式碼中所有預定的核心都發生錯誤",
    "預定內核 %s 的使用者程式碼中發生錯誤",
    "nogle resultater kan mangle, være samlet eller medførte en fejl",
    "einige Ergebnisse könnten fehlen, brachen ab oder verursachten einen Fehler",
    "%s appel de fonction en parallèle n’a pas renvoyé de résultat",
    "%s appels de fonctions en parallèle n’ont pas renvoyé de résultats",
    "%s tâche en parallèle n’a pas renvoyé de résultat",
    "%s tâches en parallèle n’ont pas renvoyé de résultats",
    "quelques résultats peuvent être manquants, repliés ou ont produit une error",
    "%s chiamata alla funzione parallel non ha restituito risultati",
    "%s chiamate alle funzioni parallel non hanno restituito risultati",
    "Il job parallelo%s non ha prodotto risultati",
    "I job paralleli %s non hanno prodotto risultati",
    "alcuni risultati potrebbero essere assenti, folded o hanno causato un errore",
    "일부 결과가 누락될 수도 있고, 오류를 접하거나 발생시켰을 수 있습니다",
    "%s lygiagretusis funkcijos iškvietimas nepateikė rezultato",
    "%s lygiagretieji funkcijos iškvietimai nepateikė rezultatų",
    "%s lygiagrečiųjų funkcijų iškvietimai nepateikė rezultatų",
    "%s lygiagreti užduotis nepateikė rezultato",
    "%s lygiagrečios užduotys nepateikė rezultatų",
    "%s lygiagrečių užduočių nepateikė rezultatų",
    "gali trūkti kai kurių rezultatų arba įvyko klaida",
    "niektórych wyników może brakować, mogą być zwinięte lub spowodowały błąd",
    "%s параллельной функции не выдали результат",
    "%s параллельное задание не выдало результат",
    "%s параллельных задания не выдали результат",
    "%s параллельных заданий не выдали результат",
    "некоторые результаты могут быть пропущены, схлопнуты или привели к ошибке",
    "有些结果可能没有，可能被折叠，也可能出了错",
    "有些結果可能沒有，可能被折疊，也可能發生錯誤",
];

/// Whether a line begins as a format says, whose `%s` is any text. A space at the format's end is one of the line, or its
/// end.
fn begins_as(format: &str, line: &str) -> bool {
    let mut pieces = format.split("%s");
    let ends_here = |piece: &str, rest: &str| rest == piece.trim_end();
    let Some(head) = pieces.next() else { return false };
    let Some(mut rest) = line.strip_prefix(head) else {
        return !format.contains("%s") && ends_here(head, line);
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return rest.ends_with(piece.trim_end()) && format.ends_with(piece),
        }
    }
    true
}

/// R puts a warning's text behind its call where both have room on one line, of 77 columns.
const LONGEST_WITH_CALL: usize = 400;

/// Whether a line is R's warning about lost results: alone, or behind a call as in `In f() : text`.
fn tells_lost_results(line: &str) -> bool {
    let is_one = |text: &str| LOST_RESULTS.iter().any(|format| begins_as(format, text.trim_start()));
    let behind_call = |(at, colon): (usize, &str)| line[..at].contains(')') && is_one(&line[at + colon.len()..]);
    is_one(line) || line.len() <= LONGEST_WITH_CALL && line.match_indices([':', '：']).any(behind_call)
}

/// A line without R's words before it where an error stands above it.
fn without_addition(line: &str) -> &str {
    let after = IN_ADDITION.iter().find_map(|words| line.strip_prefix(words));
    after.map_or(line, str::trim_start)
}

/// Whether a line is R's own above its warnings.
fn is_warning_header(line: &str) -> bool {
    let line = line.trim_end();
    let after = without_addition(line);
    let is_after = after.len() < line.len();
    WARNING_HEADERS
        .iter()
        .any(|header| line == *header || is_after && after == header.trim_start())
}

/// The kind of a line of R's own.
fn kind_of_r(line: &str) -> Option<Kind> {
    let any = |formats: &[&str], line: &str| formats.iter().any(|format| begins_as(format, line));
    let trimmed = line.trim_end();
    if any(ERRORS, line) || HALTED.contains(&trimmed) {
        return Some(Kind::Error);
    }
    if tells_lost_results(line) {
        return Some(Kind::LostResults);
    }
    let is_warning = is_warning_header(line) || any(WARNINGS, line) || {
        let after = without_addition(trimmed);
        after.len() < trimmed.len() && any(WARNINGS, after)
    };
    is_warning.then_some(Kind::Warning)
}

/// A user's patterns as they are given, unchecked: the option `abba.log.patterns`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogPatternSettings {
    /// Regular expressions for lines that tell of errors.
    pub errors: Vec<String>,
    /// The same for warnings.
    pub warnings: Vec<String>,
    /// The same for messages that count as neither.
    pub ignore: Vec<String>,
    /// Whether R's own messages are looked for, too.
    #[serde(rename = "default")]
    pub messages_of_r: bool,
}

impl LogPatternSettings {
    /// R's own messages and nothing else.
    pub const OF_R: Self = Self {
        errors: Vec::new(),
        warnings: Vec::new(),
        ignore: Vec::new(),
        messages_of_r: true,
    };
}

impl Default for LogPatternSettings {
    fn default() -> Self {
        Self::OF_R
    }
}

/// What is looked for in logs.
///
/// Each line is searched in a time that grows with its length and no faster, whatever the expressions: nobody vouches for
/// what a log holds.
#[derive(Clone, Debug)]
pub struct LogPatterns {
    settings: LogPatternSettings,
    errors: Vec<Regex>,
    warnings: Vec<Regex>,
    ignore: Vec<Regex>,
}

/// R's own messages and nothing else.
pub static MESSAGES_OF_R: LogPatterns = LogPatterns {
    settings: LogPatternSettings::OF_R,
    errors: Vec::new(),
    warnings: Vec::new(),
    ignore: Vec::new(),
};

/// How many patterns there may be: every line of every log is searched for each.
const MOST_PATTERNS: usize = 100;

/// How long a pattern may be, in characters.
const LONGEST_PATTERN: usize = 1000;

/// How much memory a pattern may take, in bytes: `x{1000}{1000}` would take all.
const LARGEST_PATTERN: usize = 1 << 20;

/// How many lines of a message are read to see whether it is ignored.
const LINES_OF_A_MESSAGE: usize = 20;

impl LogPatterns {
    /// Checks a user's patterns.
    ///
    /// Errors: there are too many; one is empty, too long or too large, or no regular expression.
    pub fn new(settings: LogPatternSettings) -> Result<Self, Error> {
        let of = |name: &str, patterns: &[String]| -> Result<Vec<Regex>, Error> {
            patterns.iter().map(|pattern| regex(name, pattern)).collect()
        };
        let count = settings.errors.len() + settings.warnings.len() + settings.ignore.len();
        if count > MOST_PATTERNS {
            return Err(Error::input(format!(
                "`{OPTION}` must hold at most {MOST_PATTERNS} regular expressions, not {count}."
            )));
        }
        Ok(Self {
            errors: of("errors", &settings.errors)?,
            warnings: of("warnings", &settings.warnings)?,
            ignore: of("ignore", &settings.ignore)?,
            settings,
        })
    }

    /// The patterns as they were given.
    pub fn settings(&self) -> &LogPatternSettings {
        &self.settings
    }

    fn kind(&self, line: &str) -> Option<Kind> {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(line));
        let of_r = self.settings.messages_of_r.then(|| kind_of_r(line)).flatten();
        match of_r {
            Some(Kind::Error) => of_r,
            _ if any(&self.errors) => Some(Kind::Error),
            Some(_) => of_r,
            None => any(&self.warnings).then_some(Kind::Warning),
        }
    }

    /// How many of the lines are a message that is ignored, of which the first is the beginning; 0: it is none.
    fn ignored<S: AsRef<str>>(&self, lines: &[S]) -> usize {
        let any = |text: &str| self.ignore.iter().any(|pattern| pattern.is_match(text));
        let Some((first, rest)) = lines.split_first().filter(|_| !self.ignore.is_empty()) else {
            return 0;
        };
        let first = first.as_ref().trim_end();
        if any(first) {
            return 1;
        }
        let is_header = is_warning_header(first);
        let is_ignored = |message: &str| any(&format!("{first} {message}")) || is_header && any(message);
        let mut count = 1;
        if is_header && item(1, rest).is_some() {
            // Numbered messages of which each must be ignored.
            let mut number = 1;
            while let Some(beginning) = item(number, &lines[count..]) {
                let more = &lines[count + 1..];
                number += 1;
                // The text of a message may have line ends of its own, which the next number ends.
                let to_next = (0..more.len().min(LINES_OF_A_MESSAGE)).find(|at| item(number, &more[*at..]).is_some());
                let more = &more[..to_next.unwrap_or_else(|| indented(more))];
                if !is_ignored(&joined(beginning, more)) {
                    return 0;
                }
                count += 1 + more.len();
            }
            return count;
        }
        let (message, more) = match rest.split_first() {
            Some((message, more)) if is_header => (message.as_ref(), more),
            _ => ("", rest),
        };
        let more = &more[..indented(more)];
        let message = joined(message, more);
        match !message.is_empty() && is_ignored(message.trim_start()) {
            true => count + usize::from(is_header) + more.len(),
            false => 0,
        }
    }
}

const OPTION: &str = "abba.log.patterns";

fn regex(name: &str, pattern: &str) -> Result<Regex, Error> {
    let refused = |rule: String| Error::input(format!("`{OPTION}`: `{name}` {rule}."));
    match pattern.chars().count() {
        0 => Err(refused("must not hold an empty pattern, which fits every line".into())),
        1..=LONGEST_PATTERN => RegexBuilder::new(pattern)
            .size_limit(LARGEST_PATTERN)
            .build()
            .map_err(|error| {
                let pattern = quote_shortened(pattern);
                refused(format!("must hold regular expressions, and {pattern} is none: {error}")).advise(
                    "They are written as for grepl(perl = TRUE), but without look-around and backreferences: a line is searched in one pass.",
                )
            }),
        length => Err(refused(format!(
            "must hold patterns of at most {LONGEST_PATTERN} characters, not {length}"
        ))),
    }
}

/// The text behind the number of a message in R's list of warnings, if the first line begins it.
fn item<S: AsRef<str>>(number: usize, lines: &[S]) -> Option<&str> {
    let line = lines.first()?.as_ref().trim_start();
    line.strip_prefix(&format!("{number}: "))
}

/// How many lines at the beginning go on with the message before them: R indents them.
fn indented<S: AsRef<str>>(lines: &[S]) -> usize {
    let some = &lines[..lines.len().min(LINES_OF_A_MESSAGE)];
    some.iter().take_while(|line| line.as_ref().starts_with("  ")).count()
}

fn joined<S: AsRef<str>>(beginning: &str, more: &[S]) -> String {
    let more = more.iter().map(|line| line.as_ref().trim());
    std::iter::once(beginning.trim())
        .chain(more)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The longest text of a line that is told, in characters.
const LONGEST_LINE: usize = 500;

/// The verdict of the lines of a log. The worst kind wins; of that the first line is told, with the next one where R has
/// broken the message behind a colon.
pub fn of_lines(lines: &[impl AsRef<str>], patterns: &LogPatterns) -> Finding {
    let mut worst: Option<(Kind, usize)> = None;
    let mut next = 0;
    while let Some(line) = lines.get(next).map(AsRef::as_ref) {
        next += 1;
        let Some(kind) = patterns.kind(line) else { continue };
        match patterns.ignored(&lines[next - 1..]) {
            0 => {}
            ignored => {
                next += ignored - 1;
                continue;
            }
        }
        if worst.is_none_or(|(before, _)| before < kind) {
            worst = Some((kind, next - 1));
        }
        if kind == Kind::Error {
            break;
        }
    }
    let kind = worst.map(|(kind, _)| kind);
    Finding {
        verdict: match kind {
            None => Verdict::Clean,
            Some(Kind::Error) => Verdict::Errors,
            Some(Kind::Warning | Kind::LostResults) => Verdict::Warnings,
        },
        line: worst.map(|(_, at)| {
            let line = lines[at].as_ref().trim();
            let more = match line.ends_with([':', '\u{ff1a}']) {
                true => &lines[at + 1..lines.len().min(at + 2)],
                false => &[],
            };
            joined(line, more).trim_end().chars().take(LONGEST_LINE).collect()
        }),
        work_is_missing: matches!(kind, Some(Kind::Error | Kind::LostResults)),
    }
}

/// The verdict that a pod gives without its log: that of a program that has failed. `None` for all others.
pub fn of_failed(pod: &Pod) -> Option<Verdict> {
    if job_status::of_pod(pod).status != Status::Failed {
        return None;
    }
    let ended = pod.terminated();
    // A reason of the pod's own is the cluster's, which ended the program: Evicted, DeadlineExceeded, NodeLost.
    let by_cluster = !pod.status.reason.is_empty();
    let by_signal = ended.is_none_or(|ended| ended.reason == "OOMKilled" || (129..=192).contains(&ended.exit_code));
    Some(match by_cluster || by_signal {
        true => Verdict::Killed,
        false => Verdict::Errors,
    })
}

/// The verdict of a pod and the lines of its log; `None` where the program has not ended, or its end is not known.
pub fn of_log(pod: &Pod, lines: &[String], patterns: &LogPatterns) -> Option<Finding> {
    let of_lines = || of_lines(lines, patterns);
    match (job_status::of_pod(pod).status, of_failed(pod)) {
        (Status::Succeeded, _) => Some(of_lines()),
        (_, Some(verdict)) => Some(Finding {
            verdict,
            line: Some(of_lines())
                .filter(|found| found.verdict == verdict)
                .and_then(|found| found.line),
            work_is_missing: false,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn verdict(lines: &[&str]) -> (Verdict, Option<String>, bool) {
        let found = of_lines(lines, &MESSAGES_OF_R);
        (found.verdict, found.line, found.work_is_missing)
    }

    #[test]
    fn the_worst_kind_wins_and_its_first_line_is_told() {
        let (result, line, missing) = verdict(&[
            "[1] 1",
            "Warning message:",
            "In f() : careful ",
            "Error in g(x) : boom",
            "In addition: Warning message:",
            "Error: second",
        ]);
        assert_eq!((result, missing), (Verdict::Errors, true));
        assert_eq!(line.as_deref(), Some("Error in g(x) : boom"));
        let (result, line, missing) = verdict(&["Warning messages:", "1: In f() : a ", "Warning message:"]);
        assert_eq!((result, missing), (Verdict::Warnings, false));
        assert_eq!(line.as_deref(), Some("Warning messages: 1: In f() : a"));
        assert_eq!(verdict(&["[1] 1", ""]), (Verdict::Clean, None, false));
    }

    #[test]
    fn the_words_of_r_in_its_languages() {
        // As R 4.2 prints them with LANGUAGE set.
        for (line, expected) in [
            ("Error in f() : boom", Verdict::Errors),
            ("Error in eval(expr, envir, enclos) : ", Verdict::Errors),
            ("Error in eval(expr, envir, enclos) :", Verdict::Errors),
            ("Error in `filter()`:", Verdict::Errors),
            ("Error: top", Verdict::Errors),
            ("Error:", Verdict::Errors),
            ("Error : no call", Verdict::Errors),
            ("Error in unserialize(node$con) : error reading from connection", Verdict::Errors),
            ("Error in unserialize(node$con) : ", Verdict::Errors),
            ("Error in checkForRemoteErrors(val) : ", Verdict::Errors),
            ("Error in { : task 2 failed - \"boom\"", Verdict::Errors),
            ("Execution halted", Verdict::Errors),
            (" *** caught segfault ***", Verdict::Errors),
            ("Error in f(a) (from a.R#3) : boom", Verdict::Errors),
            ("Fehler in h() : bang", Verdict::Errors),
            ("Fehler: top error", Verdict::Errors),
            ("Ausführung angehalten", Verdict::Errors),
            ("Erreur dans h() : bang", Verdict::Errors),
            ("Erreur : top error", Verdict::Errors),
            (" h() でエラー: bang", Verdict::Errors),
            (" エラー: top error", Verdict::Errors),
            (" 実行が停止されました ", Verdict::Errors),
            ("h()에서 다음과 같은 에러가 발생했습니다:bang", Verdict::Errors),
            ("Błąd w poleceniu 'h()':bang", Verdict::Errors),
            ("BŁĄD: top error", Verdict::Errors),
            ("Ошибка в h() :bang", Verdict::Errors),
            ("错误: top error", Verdict::Errors),
            ("停止执行", Verdict::Errors),
            ("錯誤發生在 h()：bang", Verdict::Errors),
            ("Erro: top error", Verdict::Errors),
            ("Hata: top error", Verdict::Errors),
            ("Errore in h() : bang", Verdict::Errors),
            ("Feil: top error", Verdict::Errors),
            ("Fejl i h() : bang", Verdict::Errors),
            ("Klaida, esanti h() : bang", Verdict::Errors),
            ("Warning message:", Verdict::Warnings),
            ("Warning messages:", Verdict::Warnings),
            ("In addition: Warning message:", Verdict::Warnings),
            ("In addition: There were 50 or more warnings (use warnings() to see the first 50)", Verdict::Warnings),
            ("There were 50 or more warnings (use warnings() to see the first 50)", Verdict::Warnings),
            ("There were 13 warnings (use warnings() to see them)", Verdict::Warnings),
            ("Warning in g() : careful", Verdict::Warnings),
            ("Warning in file(con, \"r\") :", Verdict::Warnings),
            ("Warning: top", Verdict::Warnings),
            ("Zusätzlich: Warnmeldung:", Verdict::Warnings),
            ("Warnung in g() careful", Verdict::Warnings),
            ("Es gab 50 oder mehr Warnungen (Anzeige der ersten 50 mit warnings())", Verdict::Warnings),
            ("Es gab 13 Warnungen (Anzeige mit warnings())", Verdict::Warnings),
            ("De plus : Message d'avis :", Verdict::Warnings),
            ("Avis dans g() : careful", Verdict::Warnings),
            ("Il y a eu 50 avis ou plus (utilisez warnings() pour voir les 50 premiers)", Verdict::Warnings),
            ("Il y a eu 13 avis (utilisez warnings() pour les visionner)", Verdict::Warnings),
            (" 警告メッセージ: ", Verdict::Warnings),
            (" 追加情報:  警告メッセージ: ", Verdict::Warnings),
            (" g() で警告がありました:  careful", Verdict::Warnings),
            (
                " 50 件以上の警告がありました (最初の 50 個の警告を見るには warnings() を使って下さい) ",
                Verdict::Warnings,
            ),
            ("추가정보: 경고메시지(들): ", Verdict::Warnings),
            ("g()에서 경고가 발생했습니다 :  careful", Verdict::Warnings),
            (
                "50건 이상의 경고들을 발견되었습니다 (이들 중 처음 50건을 확인하기 위해서는 warnings()를 이용하시길 바랍니다).",
                Verdict::Warnings,
            ),
            ("Ostrzeżenie w poleceniu 'g()': careful", Verdict::Warnings),
            ("Вдобавок: Предупреждение:", Verdict::Warnings),
            ("此外: Warning message:", Verdict::Warnings),
            ("警告訊息：", Verdict::Warnings),
            ("g() 中的警告： careful", Verdict::Warnings),
            ("Avvertimento in g(): careful", Verdict::Warnings),
            ("DĖMESIO!: top", Verdict::Warnings),
        ] {
            let (result, found, _) = verdict(&["[1] 1", line]);
            assert_eq!((result, found.as_deref()), (expected, Some(line.trim())), "{line}");
        }
    }

    #[test]
    fn every_message_of_r_is_known_in_every_language() {
        let mut programs: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in include_str!("verdict_samples.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let (program, text) = line
                .match_indices('|')
                .nth(1)
                .map(|(at, _)| (&line[..at], &line[at + 1..]))
                .unwrap();
            match programs.last_mut() {
                Some((last, lines)) if *last == program => lines.push(text),
                _ => programs.push((program, vec![text])),
            }
        }
        assert!(programs.len() > 190, "{}", programs.len());
        for (program, lines) in programs {
            let kind = program
                .split('|')
                .nth(1)
                .unwrap()
                .trim_end_matches(|c: char| c.is_ascii_digit());
            let expected = match kind {
                "w" => (Verdict::Warnings, false),
                "mc" => (Verdict::Warnings, true),
                _ => (Verdict::Errors, true),
            };
            let found = of_lines(&lines, &MESSAGES_OF_R);
            assert_eq!((found.verdict, found.work_is_missing), expected, "{program}: {lines:?}");
        }
    }

    #[test]
    fn a_programs_own_text_is_neither() {
        for line in [
            "Error rate: 3%",
            "Error in 3% of the cases",
            "Standard Error: 0.1",
            "  Error: of a table",
            "[1] \"Error: quoted\"",
            "Errors: 0",
            "Error:0",
            "Residual standard error: 3 on 5 degrees of freedom",
            "Warning message: none",
            "Warning level 3",
            "Warnings: 0",
            "Warning in three sites",
            "Execution halted by the sponsor",
            "There were 50 patients",
            "In addition: 3 patients",
            "Klaida",
            "The scheduled core visits",
            "Error :-(",
            "In f() : all went well",
            "In the study (phase 1): some results may be missing",
            "Table 3 (n = 4): scheduled core biopsies",
        ] {
            assert_eq!(verdict(&[line]), (Verdict::Clean, None, false), "{line}");
        }
    }

    #[test]
    fn lost_results_of_workers_are_told_before_other_warnings() {
        for line in [
            "  scheduled core 2 did not deliver a result, all values of the job will be affected",
            "  scheduled core(s) 1, 2 did not deliver results, all values of the jobs will be affected",
            "  scheduled core 2 encountered error in user code, all values of the job will be affected",
            "  all scheduled cores encountered errors in user code",
            "  les coeurs programmés 1, 2 n’ont pas renvoyé de résultats, toutes les valeurs",
            "  eingeplanter Kern 2 berichtet Fehler in Benutzerkode, alle Werte des Jobs werden betroffen sein",
            "  1 parallel function call did not deliver a result",
            "  2 parallel jobs did not deliver results",
            "  some results may be missing, folded or caused an error",
            "  2 appels de fonctions en parallèle n’ont pas renvoyé de résultats",
            "  некоторые результаты могут быть пропущены, схлопнуты или привели к ошибке",
            // Where R has room for it behind the call.
            "In mclapply(1:4, f) : all scheduled cores encountered errors in user code",
            "1: In mccollect(jobs) : 1 parallel job did not deliver a result",
            "Dans mclapply(1:4, f) : tous les coeurs qui ont été programmés ont trouvé des erreurs dans le code utilisateur",
            "Warning in mclapply(1:4, f) : all scheduled cores encountered errors in user code",
        ] {
            assert_eq!(
                verdict(&["Warning message:", "In mclapply(1:4, f) :", line]),
                (Verdict::Warnings, Some(line.trim().to_string()), true)
            );
        }
    }

    #[test]
    fn a_line_is_told_shortened() {
        let line = format!("Error: {}", "ä".repeat(10_000));
        assert_eq!(
            of_lines(&[line], &MESSAGES_OF_R).line.unwrap().chars().count(),
            LONGEST_LINE
        );
    }

    fn patterns(errors: &[&str], warnings: &[&str], ignore: &[&str], messages_of_r: bool) -> LogPatterns {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect();
        LogPatterns::new(LogPatternSettings {
            errors: own(errors),
            warnings: own(warnings),
            ignore: own(ignore),
            messages_of_r,
        })
        .unwrap()
    }

    #[test]
    fn patterns_of_a_users_own_add_to_those_of_r_or_replace_them() {
        let lines = [
            "NOTE: Variable x is uninitialized.",
            "Warning: of R",
            "ERROR: of a macro",
            "Error: of R",
        ];
        let found = |lines: &[&str], patterns: &LogPatterns| {
            let found = of_lines(lines, patterns);
            (found.verdict, found.line)
        };
        let line = |k: usize| Some(lines[k].to_string());
        let own = patterns(&["^ERROR:"], &["^NOTE: .*uninitialized"], &[], true);
        assert_eq!(found(&lines, &own), (Verdict::Errors, line(2)));
        assert_eq!(found(&lines[..2], &own), (Verdict::Warnings, line(0)));
        assert_eq!(found(&lines[3..], &own), (Verdict::Errors, line(3)));
        assert_eq!(found(&["[1] 1"], &own), (Verdict::Clean, None));
        let alone = patterns(&["^ERROR:"], &[], &[], false);
        assert_eq!(found(&lines, &alone), (Verdict::Errors, line(2)));
        assert_eq!(
            found(&["Error: of R", "Warning message:"], &alone),
            (Verdict::Clean, None)
        );
    }

    #[test]
    fn messages_are_ignored_with_the_lines_that_belong_to_them() {
        const BUILT: &str = "package ‘dplyr’ was built under R version 4.2.3 ";
        let verdict = |ignore: &str, lines: &[&str]| {
            let found = of_lines(lines, &patterns(&[], &[], &[ignore], true));
            (found.verdict, found.line)
        };
        let clean = (Verdict::Clean, None);
        let warnings = |line: &str| (Verdict::Warnings, Some(line.to_string()));
        let built = "^Warning messages?:.*package .* was built under";
        assert_eq!(verdict(built, &["Warning message:", BUILT]), clean);
        assert_eq!(
            verdict("^package .* was built under", &["Warning message:", BUILT]),
            clean
        );
        // Another one stands below it.
        assert_eq!(
            verdict(
                built,
                &["Warning message:", BUILT, "Warning message:", "In f() : careful "]
            ),
            warnings("Warning message: In f() : careful")
        );
        // A list of them is ignored where each is.
        let (one, two) = (format!("1: {BUILT}"), format!("2: {BUILT}"));
        let list = ["Warning messages:", &one, &two];
        assert_eq!(verdict(built, &list), clean);
        let list = ["Warning messages:", &one, "2: In f(x) :", "  careful with this"];
        assert_eq!(
            verdict(built, &list),
            warnings("Warning messages: 1: package ‘dplyr’ was built under R version 4.2.3")
        );
        assert_eq!(verdict("was built under|careful with", &list), clean);
        // A message of several lines, and one of an error.
        let long = ["Error in f(x) :", "  the first line", "  the second line", "[1] 1"];
        assert_eq!(verdict("first line the second", &long), clean);
        assert_eq!(
            verdict("^Error in f", &["Error in f(x) : a", "Error in g(x) : b"])
                .1
                .as_deref(),
            Some("Error in g(x) : b")
        );
        // Lost results are not ignored with the line above them, but by their own words.
        let lost = [
            "Warning message:",
            "In mclapply(1:4, f) :",
            "  scheduled core 2 did not deliver a result, all values",
        ];
        assert_eq!(verdict("^Warning message:$", &lost), warnings(lost[2].trim()));
        assert_eq!(verdict("^Warning message:.*mclapply", &lost), clean);
        // Where nothing follows.
        assert_eq!(verdict("x", &["Warning message:"]), warnings("Warning message:"));
        assert_eq!(
            verdict("x", &["Warning messages:", "1: a"]),
            warnings("Warning messages: 1: a")
        );
    }

    #[test]
    fn patterns_that_cannot_be_used_are_refused_with_their_rule() {
        for (pattern, words) in [
            ("(", "must hold regular expressions, and \"(\" is none"),
            ("a(?=b)", "is none"),
            (r"(a)\1", "is none"),
            ("", "empty pattern"),
            (&"x".repeat(1001), "at most 1000 characters, not 1001"),
            ("(x{1000}){1000}", "is none"),
        ] {
            let settings = LogPatternSettings {
                warnings: vec![pattern.into()],
                ..LogPatternSettings::OF_R
            };
            let error = LogPatterns::new(settings).unwrap_err();
            assert_eq!(error.class, crate::ErrorClass::Input);
            assert!(
                error.message.contains("`warnings`") && error.message.contains(words),
                "{}",
                error.message
            );
        }
        let many = LogPatternSettings {
            errors: vec!["x".into(); 101],
            ..LogPatternSettings::OF_R
        };
        assert!(LogPatterns::new(many).unwrap_err().message.contains("at most 100"));
    }

    #[test]
    fn a_log_that_is_made_to_be_slow_is_searched_once() {
        // With backtracking this pattern would take longer than the universe has.
        let own = patterns(&["^(a|aa)+$"], &[], &["(x+x+)+y"], true);
        let line = "a".repeat(5000) + "!";
        assert_eq!(of_lines(&[line.as_str()], &own).verdict, Verdict::Clean);
        let line = format!("Error: {}", "x".repeat(5000));
        assert_eq!(of_lines(&[line.as_str()], &own).verdict, Verdict::Errors);
    }

    fn pod(phase: &str, reason: &str, terminated: Value) -> Pod {
        let state = match terminated {
            Value::Null => json!({}),
            terminated => json!({"terminated": terminated}),
        };
        serde_json::from_value(json!({
            "metadata": {"name": "a-x"},
            "status": {"phase": phase, "reason": reason, "containerStatuses": [{"name": "program", "state": state}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_end_of_a_failed_program_is_its_verdict() {
        let end = |code: i32, reason: &str| json!({"exitCode": code, "reason": reason});
        for (phase, reason, terminated, expected) in [
            ("Failed", "", end(1, "Error"), Some(Verdict::Errors)),
            ("Failed", "", end(127, "Error"), Some(Verdict::Errors)),
            ("Failed", "", end(255, "Error"), Some(Verdict::Errors)),
            ("Failed", "", end(137, "OOMKilled"), Some(Verdict::Killed)),
            ("Failed", "", end(1, "OOMKilled"), Some(Verdict::Killed)),
            ("Failed", "", end(139, "Error"), Some(Verdict::Killed)),
            ("Failed", "DeadlineExceeded", end(143, "Error"), Some(Verdict::Killed)),
            ("Failed", "Evicted", Value::Null, Some(Verdict::Killed)),
            ("Succeeded", "", end(0, "Completed"), None),
            ("Running", "", Value::Null, None),
        ] {
            let pod = pod(phase, reason, terminated);
            assert_eq!(of_failed(&pod), expected, "{phase} {reason}");
        }
        let lines = ["Error: boom".to_string()];
        let found = of_log(&pod("Failed", "", end(1, "Error")), &lines, &MESSAGES_OF_R).unwrap();
        assert_eq!(found.line.as_deref(), Some("Error: boom"));
        assert!(!found.work_is_missing);
        let found = of_log(&pod("Failed", "", end(137, "OOMKilled")), &lines, &MESSAGES_OF_R).unwrap();
        assert_eq!((found.verdict, found.line), (Verdict::Killed, None));
        assert_eq!(of_log(&pod("Running", "", Value::Null), &lines, &MESSAGES_OF_R), None);
    }
}
