//! The verdict of a log: whether R printed errors or warnings in it.
//!
//! A program that ends with status 0 is Succeeded for Kubernetes, also where `options(error = )`, `try()` or a lost worker
//! let R go on after an error. The verdict stands beside that status and never changes it.
//!
//! R prints its messages in the language of its session. The texts are those of R's own catalogues (`R.mo` and
//! `R-parallel.mo` of R 4.2 and 4.5) and what R prints with them; those that R leaves in English in a language need no
//! entry. R begins no new line for a message: what the program has printed without a line end stands before it.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::domain::job_status::{self, Status};
use crate::error::quote_shortened;
use crate::kubernetes::objects::Pod;
use crate::Error;

/// What a program's end and its log say of its work, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

names!(Verdict { Clean = "clean", Warnings = "warnings", Errors = "errors", Killed = "killed" });

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

/// The beginnings of R's errors; `%s` is any text, `%c` a call.
const ERRORS: &[&str] = &[
    "Error in %s : ",
    // An error as text, as in `message("caught: ", e)`.
    "Error in %c: ",
    // rlang's, whose message follows on the next line.
    "Error in `%s`:",
    "Error in `%s` at %s:",
    "Error: ",
    // try()'s, in every language, where the error has no call.
    "Error : ",
    "Error during wrapup: ",
    "Fatal error: ",
    "*** caught ",
    // Those of require(), and of the part of R that installs packages.
    "Failed with error:  ",
    "ERROR: %s for package ",
    // Those of testthat.
    "── Failure (",
    "── Error (",
    "-- Failure (",
    "-- Error (",
    // Those of the runtimes of C++, of C, of Python and of Java, by whose words alone some programs end.
    "terminate called ",
    "libc++abi: terminating ",
    "double free or corruption ",
    "free(): ",
    "malloc(): ",
    "realloc(): ",
    "munmap_chunk(): ",
    "corrupted double-linked list",
    "corrupted size vs. prev_size",
    "*** stack smashing detected ***",
    "*** buffer overflow detected ***",
    "Traceback (most recent call last):",
    "Exception in thread \"%s\" ",
    "Fejl i %s : ",
    "Fejl: ",
    "Fatal fejl: ",
    "Fehler in %s : ",
    "Fehler: ",
    "Fehler während wrapup: ",
    "Fataler Fehler: ",
    "Error en %s : ",
    "Error en %c: ",
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
    "以下にエラー %s : ",
    "%s でエラー: ",
    "エラー: ",
    "wrapup 中にエラーが起こりました: ",
    "致命的なエラーです: ",
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
    "错误于%s: ",
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
    "実行が停止されました",
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
    "simpleWarning in %c: ",
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
    "Aviso en %s : ",
    "Aviso: ",
    "Hubo %s (use warnings()",
    "Avis dans %s : ",
    "Avis : ",
    "Il y a eu %s avis %s(utilisez warnings()",
    "Messages d'avis perdus",
    "Avvertimento in %s: ",
    "Avvertimento: ",
    "Ci sono %s avvertimenti (utilizza warnings()",
    "C'è stato %s avvertimento (utilizza warnings()",
    "Avvertimenti persi",
    "%s で警告がありました: ",
    "警告: ",
    "%sの警告がありました (",
    "%s件以上の警告がありました (",
    "警告メッセージが失われました",
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
    "Åtvaring in %s:",
    "Åtvaring: ",
    "Det oppstod %s (bruk «warnings()»",
    "Ostrzeżenie w poleceniu '%s':",
    "Ostrzeżenie: ",
    "Było %s (użyj 'warnings()'",
    "Były %s (użyj 'warnings()'",
    "Utracono komunikaty ostrzegawcze",
    "Mensagens de aviso perdidas",
    "Aviso em %s : ",
    "Houve %s (use warnings()",
    "Предупреждение в %s : ",
    "Предупреждение: ",
    "Было %s (введите warnings()",
    "Потерянные предупреждения",
    "Kayıp uyarı mesajları",
    "%s'de uyarı:",
    "Uyarı: ",
    "%s uyarı oluştu (ilk %s warnings()",
    "%s hata oluştu (görmek için warnings()",
    "警告信息丢失",
    "%s里有警告:",
    "警告多于%s(用warnings()",
    "共有%s个警告 (用warnings()",
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
    "Aviso:",
    "Avisos:",
    "Messaggio di avvertimento:",
    "Messaggi di avvertimento:",
    "警告メッセージ:",
    "경고메시지(들):",
    "Įspėjantysis pranešimas:",
    "Įspėjantieji pranešimai:",
    "Įspėjančių pranešimų:",
    "Komunikat ostrzegawczy:",
    "Komunikaty ostrzegawcze:",
    "Åtvaring:",
    "Åtvaringar:",
    "Mensagen de aviso:",
    "Mensagens de aviso:",
    "Предупреждение:",
    "Предупреждения:",
    "Uyarı mesajları:",
    "警告信息:",
    "警告訊息：",
];

/// R's words before such a line where an error stands above it, or the program has not begun.
const IN_ADDITION: &[&str] = &[
    "In addition: ",
    "Zusätzlich: ",
    "Además: ",
    "De plus : ",
    "In aggiunta: ",
    "追加情報: ",
    "추가정보: ",
    "Be to: ",
    "I tillegg: ",
    "Dodatkowo: ",
    "Além disso: ",
    "Вдобавок: ",
    "Ek olarak: ",
    "此外: ",
    "During startup - ",
    "Beim Start - ",
    "Durante la inicialización - ",
    "Pendant le démarrage - ",
    "Durante l'avvio - ",
    "起動準備中です - ",
    "스타트업을 하는 동안 - ",
    "Paleisties metu - ",
    "Ved oppstart – ",
    "Podczas startu - ",
    "Durante a inicialização - ",
    "Во время загрузки - ",
    "Başlangıç sırasında - ",
    "在启动过程中 - ",
    "於啟動期間 - ",
];

/// The whole line of a shell whose command was killed, as `system()` starts them: the C library's names of signals by which
/// a command does not end by itself. bash has them in a line of its own.
const KILLED_COMMANDS: &[&str] = &[
    "Killed",
    "Segmentation fault",
    "Aborted",
    "Bus error",
    "Illegal instruction",
    "Floating point exception",
    // musl's name of that.
    "Arithmetic exception",
    "Trace/breakpoint trap",
    "Bad system call",
    "CPU time limit exceeded",
    "File size limit exceeded",
];

/// How testthat counts, whatever its reporter shows beside it.
const COUNTS_OF_TESTS: &[&str] = &["[ FAIL "];

/// The ends of lines, whoever has printed them, that tell of output that is lost.
const LOST_OUTPUT: &[&str] = &["No space left on device", "Disk quota exceeded", "(core dumped)"];

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
    "eingeplante%s lieferte%s kein Ergebnis, ",
    "%s paralleler Funktionsaufruf lieferte kein Ergebnis",
    "%s parallele Funktionsaufrufe lieferten kein Ergebnis",
    "%s parallele Aufgabe lieferte kein Ergebnis",
    "%s parallele Aufgaben lieferten kein Ergebnis",
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
    "有些结果可能缺失，可能被折叠，也可能出了错",
    "スケジュールされたコア %s結果を提供しませんでした",
    "スケジュールされたコア %sエラーが発生しました",
    "スケジュールされたすべてのコアでユーザー コードでエラーが発生しました",
    "%s 個の並列関数呼び出しで結果が得られませんでした",
    "%s 個の並列ジョブは結果を提供しませんでした",
    "一部の結果が欠落している、折りたたまれている、またはエラーが発生している可能性があります",
    "有些結果可能沒有，可能被折疊，也可能發生錯誤",
];

/// What comes after a format in a line that begins as the format says, whose `%s` is any text, and `%c` text that looks
/// like a call. A space at the format's end is one of the line, or its end.
fn after_beginning<'a>(format: &str, line: &'a str) -> Option<&'a str> {
    let Some((head, mut pieces)) = format.split_once('%') else {
        return line
            .strip_prefix(format)
            .or_else(|| (line == format.trim_end()).then_some(""));
    };
    let mut rest = line.strip_prefix(head)?;
    loop {
        let (kind, after) = pieces.split_at(1);
        let (piece, next) = after
            .split_once('%')
            .map_or((after, None), |(piece, next)| (piece, Some(next)));
        let (text, behind) = match rest.split_once(piece) {
            Some(parts) => parts,
            None if next.is_none() => (rest.strip_suffix(piece.trim_end())?, ""),
            None => return None,
        };
        if kind == "c" && !looks_like_call(text) {
            return None;
        }
        rest = behind;
        match next {
            Some(next) => pieces = next,
            None => return Some(rest),
        }
    }
}

fn begins_as(format: &str, line: &str) -> bool {
    after_beginning(format, line).is_some()
}

/// Whether text looks like a call in R's short form of it, as `f(x)` and `x$y` do, and words do not.
fn looks_like_call(text: &str) -> bool {
    let name = text.find(['(', '[', '{', '$', '@', '`']).map(|at| &text[..at]);
    name.is_some_and(|name| !name.contains(' ') || ["if ", "for ", "while "].contains(&name))
}

/// Whether text is made of figures alone, or says that there are none: behind a word like `Error: ` it is a program's result.
fn is_figures(text: &str) -> bool {
    let mut words = text.split_whitespace().peekable();
    words.peek().is_some()
        && words.all(|word| {
            let word = word.trim_matches(|c| "()[],;%<>=±+-".contains(c));
            word.is_empty() || ["NA", "none", "None"].contains(&word) || word.parse::<f64>().is_ok()
        })
}

/// R puts a warning's text behind its call where both have room on one line, of 77 columns.
const LONGEST_WITH_CALL: usize = 400;

/// Whether a line is R's warning about lost results: alone, or behind a call as in `In f() : text`.
fn tells_lost_results(line: &str) -> bool {
    let is_one = |text: &str| LOST_RESULTS.iter().any(|format| begins_as(format, text.trim_start()));
    let behind_call = |(at, colon): (usize, &str)| line[..at].contains(')') && is_one(&line[at + colon.len()..]);
    is_one(line) || line.len() <= LONGEST_WITH_CALL && line.match_indices([':', '：']).any(behind_call)
}

/// A line without R's words before a warning.
fn without_addition(line: &str) -> &str {
    let after = IN_ADDITION.iter().find_map(|words| line.strip_prefix(words));
    after.map_or(line, str::trim_start)
}

/// Whether a line is R's own above its warnings. What the program has printed may stand before it.
fn is_warning_header(line: &str) -> bool {
    let line = line.trim();
    let after = without_addition(line);
    let ends_with = |header: &str| {
        let before = line.strip_suffix(header);
        // One word alone may be the program's.
        before.is_some_and(|before| header.contains(' ') || !before.ends_with(char::is_whitespace))
    };
    WARNING_HEADERS
        .iter()
        .any(|header| line == *header || after == *header || ends_with(header))
}

/// All messages that are looked for.
const MESSAGES: [&[&str]; 8] = [
    ERRORS,
    HALTED,
    WARNINGS,
    WARNING_HEADERS,
    KILLED_COMMANDS,
    COUNTS_OF_TESTS,
    LOST_OUTPUT,
    LOST_RESULTS,
];

/// Texts of which each line of R's own has one, by their first byte, and the pairs of bytes that they begin with.
struct Marks {
    begin: Vec<bool>,
    by_first: Vec<Vec<&'static str>>,
}

static MARKS: LazyLock<Marks> = LazyLock::new(|| {
    let mut marks = Marks {
        begin: vec![false; 1 << 16],
        by_first: vec![Vec::new(); 256],
    };
    for format in MESSAGES.into_iter().flatten() {
        let mark = mark_of(format);
        if let [first, second, ..] = *mark.as_bytes() {
            marks.begin[usize::from(u16::from_be_bytes([first, second]))] = true;
            marks.by_first[usize::from(first)].push(mark);
        }
    }
    marks
});

/// The longest of the texts that a format has beside its `%s`. A line may end before the space at its end.
fn mark_of(format: &'static str) -> &'static str {
    let (head, rest) = format.split_once('%').unwrap_or((format, ""));
    let pieces = rest.split('%').map(|piece| piece.get(1..).unwrap_or_default());
    let pieces = pieces.chain([head]).map(str::trim);
    pieces.max_by_key(|piece| piece.len()).unwrap_or_default()
}

/// Whether a line may be R's own: most are not, and looking for each of R's messages in them would take the time of reading
/// the log many times over.
fn may_be_of_r(line: &str) -> bool {
    let bytes = line.as_bytes();
    // A condition that the program has printed.
    bytes.contains(&b'<')
        || bytes.windows(2).enumerate().any(|(at, pair)| {
            MARKS.begin[usize::from(u16::from_be_bytes([pair[0], pair[1]]))]
                && MARKS.by_first[usize::from(pair[0])]
                    .iter()
                    .any(|mark| bytes[at..].starts_with(mark.as_bytes()))
        })
}

/// The kind of a line of R's own, or of the end of one that the program has begun.
fn kind_of_r(line: &str, next: Option<&str>) -> Option<Kind> {
    may_be_of_r(line).then(|| kind_of_parts(line, next)).flatten()
}

fn kind_of_parts(line: &str, next: Option<&str>) -> Option<Kind> {
    // A terminal would show a bar of progress and what comes after each `\r` as lines.
    line.split('\r').filter_map(|part| kind_of_part(part, next)).max()
}

fn kind_of_part(line: &str, next: Option<&str>) -> Option<Kind> {
    // R 4.2 has a space before its Japanese and some others.
    let line = match line.strip_prefix(' ') {
        Some(rest) if rest.starts_with('*') || !rest.starts_with(|c: char| c.is_ascii()) => rest,
        _ => line,
    };
    let beginning = kind_of_beginning(line, next);
    if beginning < Some(Kind::LostResults) && tells_lost_results(line) {
        return Some(Kind::LostResults);
    }
    beginning
        .or_else(|| kind_of_printed(line))
        .or_else(|| kind_of_end(line))
        .or_else(|| is_warning_header(line).then_some(Kind::Warning))
}

/// The kind of a line that begins with a message of R.
fn kind_of_beginning(line: &str, next: Option<&str>) -> Option<Kind> {
    let trimmed = line.trim_end();
    let any = |formats: &[&str], line: &str| {
        let mut found = formats.iter().filter_map(|format| after_beginning(format, line));
        found.any(|rest| !is_figures(rest))
    };
    let is_error = HALTED.contains(&trimmed)
        || is_killed_command(trimmed)
        || LOST_OUTPUT.iter().any(|words| trimmed.ends_with(words))
        || any(ERRORS, line) && !next.is_some_and(|next| is_stratum(line, next));
    if is_error {
        return Some(Kind::Error);
    }
    let after = without_addition(trimmed);
    let is_warning = any(WARNINGS, line) || after.len() < trimmed.len() && any(WARNINGS, after);
    is_warning.then_some(Kind::Warning).or_else(|| kind_of_counts(line))
}

/// Whether a line is a shell's about a command that was killed: `Killed`, and of bash `a.sh: line 3: 4711 Killed   sort x`.
fn is_killed_command(line: &str) -> bool {
    let of_bash = || {
        let (_, rest) = line.split_once(": line ")?;
        let (_, rest) = rest.split_once(": ").filter(|(number, _)| is_number(number))?;
        let (_, rest) = rest.trim_start().split_once(' ').filter(|(pid, _)| is_number(pid))?;
        Some(KILLED_COMMANDS.iter().any(|words| rest.starts_with(words)))
    };
    KILLED_COMMANDS.contains(&line) || of_bash() == Some(true)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The kind of a line of testthat's such as `[ FAIL 0 | WARN 1 | SKIP 0 | PASS 2 ]`.
fn kind_of_counts(line: &str) -> Option<Kind> {
    let rest = COUNTS_OF_TESTS
        .iter()
        .find_map(|beginning| line.strip_prefix(beginning))?;
    let (failures, rest) = rest.split_once(" | WARN ")?;
    let (warnings, _) = rest.split_once(" | ")?;
    let is_some = |count: &str| is_number(count) && count != "0";
    match (is_some(failures), is_some(warnings)) {
        (true, _) => Some(Kind::Error),
        (false, true) => Some(Kind::Warning),
        _ => None,
    }
}

/// Whether a line is the head of a table of `aov()` with strata of errors, as the next line tells.
fn is_stratum(line: &str, next: &str) -> bool {
    let next = next.trim_start();
    line.starts_with("Error: ") && (next.starts_with("Df ") || next.starts_with("Response "))
}

/// How many bytes of a message are looked at that does not begin its line: each of many in a line costs no more.
const LONGEST_BEHIND_TEXT: usize = 500;

/// The kind of a line that ends with a message of R, behind what the program has printed without a line end.
fn kind_of_end(line: &str) -> Option<Kind> {
    // Behind a mark of progress any message is one, elsewhere only those that are hardly the program's words.
    let behind_mark =
        |(at, mark): (usize, &str)| kind_of_beginning(shortened(&line[at + mark.len()..]).trim_start(), None);
    if let Some(kind) = ["...", "\u{2026}", "%"]
        .iter()
        .find_map(|mark| line.match_indices(mark).find_map(behind_mark))
    {
        return Some(kind);
    }
    let mut kind = None;
    for (at, first) in line.bytes().enumerate() {
        for (format, of_format) in &ANYWHERE[usize::from(first)] {
            let rest = after_beginning(format, shortened(&line[at..]));
            if rest.is_some_and(|rest| !is_figures(rest)) && !is_quoted(line, at) {
                kind = kind.max(Some(*of_format));
            }
        }
    }
    kind
}

/// The messages that name a call, or R's function for its warnings, by their first byte: they may stand anywhere in a line.
static ANYWHERE: LazyLock<Vec<Vec<(String, Kind)>>> = LazyLock::new(|| {
    let mut by_first = vec![Vec::new(); 256];
    let of_kind = |formats: &'static [&'static str], kind| formats.iter().map(move |format| (*format, kind));
    for (format, kind) in of_kind(ERRORS, Kind::Error).chain(of_kind(WARNINGS, Kind::Warning)) {
        let Some(first) = format
            .bytes()
            .next()
            .filter(|first| *first != b'%' && format.contains('%'))
        else {
            continue;
        };
        let format = match format.contains("warnings()") {
            true => format.to_string(),
            false => format.replacen("%s", "%c", 1),
        };
        by_first[usize::from(first)].push((format, kind));
    }
    by_first
});

fn shortened(text: &str) -> &str {
    let most = text.len().min(LONGEST_BEHIND_TEXT);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// The kind of a line with a condition that the program has printed: `<simpleError in f(): boom>`, `<error/rlang_error>`.
fn kind_of_printed(line: &str) -> Option<Kind> {
    let name = |(at, _): (usize, &str)| {
        let rest = &line[at + 1..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && !"._:".contains(c))?;
        let (name, rest) = rest.split_at(end);
        let is_alone = rest.starts_with(" in ") || name.ends_with(':') || rest.starts_with('/');
        (is_alone && !is_quoted(line, at)).then(|| name.trim_end_matches(':').to_ascii_lowercase())
    };
    line.match_indices('<').filter_map(name).find_map(|name| match name {
        _ if name.ends_with("error") || name.ends_with("exception") => Some(Kind::Error),
        _ if name.ends_with("warning") => Some(Kind::Warning),
        _ => None,
    })
}

fn is_quoted(line: &str, at: usize) -> bool {
    line[..at].ends_with(['"', '\'', '`', '\u{2018}', '\u{201c}', '\u{201e}', '\u{ab}'])
}

/// A line without the signs that colour it on a terminal.
fn without_colours(line: &str) -> Cow<'_, str> {
    const ESCAPE: char = '\u{1b}';
    let Some((before, mut rest)) = line.split_once(ESCAPE) else {
        return Cow::Borrowed(line);
    };
    let mut plain = before.to_string();
    loop {
        // "[", numbers, a letter; or "]", a text, a bell or another escape (ECMA-48, 5.4 and 5.6).
        rest = if let Some(sequence) = rest.strip_prefix('[') {
            let end = sequence.find(|c: char| ('@'..='~').contains(&c));
            end.map_or("", |end| &sequence[end + 1..])
        } else if let Some(sequence) = rest.strip_prefix(']') {
            let end = sequence.find(['\u{7}', ESCAPE]);
            end.map_or("", |end| sequence[end..].trim_start_matches('\u{7}'))
        } else {
            rest.strip_prefix('\\').unwrap_or(rest)
        };
        match rest.split_once(ESCAPE) {
            Some((before, after)) => {
                plain.push_str(before);
                rest = after;
            }
            None => {
                plain.push_str(rest);
                return Cow::Owned(plain);
            }
        }
    }
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

    /// `next`: the line below it, which may tell that it is none.
    fn kind(&self, line: &str, next: Option<&str>) -> Option<Kind> {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(line));
        let of_r = self.settings.messages_of_r.then(|| kind_of_r(line, next)).flatten();
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
        let below = lines.get(next).map(AsRef::as_ref);
        let Some(kind) = patterns.kind(&without_colours(line), below) else {
            continue;
        };
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
            let plain = without_colours(lines[at].as_ref());
            let part = plain.split('\r').find(|part| kind_of_part(part, None) == kind);
            let line = part.unwrap_or(&plain).trim();
            let more = match line.ends_with([':', '\u{ff1a}']) {
                true => &lines[at + 1..lines.len().min(at + 2)],
                false => &[],
            };
            without_colours(&joined(line, more))
                .trim_end()
                .chars()
                .take(LONGEST_LINE)
                .collect()
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
    fn a_message_is_found_behind_what_the_program_has_printed() {
        for (line, told, expected) in [
            // cat("Fitting ..."); try(log("a"))
            ("Fitting ...Error in log(\"a\") : bad", "", Verdict::Errors),
            ("fittingError in x[[5]] : subscript out of bounds", "", Verdict::Errors),
            ("Fitting ... Error : boom", "", Verdict::Errors),
            ("Schritt 3\u{2026}Fehler: boom", "", Verdict::Errors),
            ("fertigFehler in f(x) : boom", "", Verdict::Errors),
            // Within a bar of progress.
            (
                "\r |=  |  33%\r |== |  67%Error in log(\"a\") : bad",
                "|== |  67%Error in log(\"a\") : bad",
                Verdict::Errors,
            ),
            ("\r |=  |  33%\rError : boom\r", "Error : boom", Verdict::Errors),
            // An error as text, and as it is printed.
            ("caught: Error in log(\"a\"): bad", "", Verdict::Errors),
            ("Error in f(): boom", "", Verdict::Errors),
            ("<simpleError in log(\"a\"): bad>", "", Verdict::Errors),
            ("caught: <simpleError: bad>", "", Verdict::Errors),
            ("<Rcpp::exception in f(): bad>", "", Verdict::Errors),
            (
                "<packageNotFoundError in library(x): there is none>",
                "",
                Verdict::Errors,
            ),
            ("<error/rlang_error>", "", Verdict::Errors),
            ("caught: simpleWarning in f(): careful", "", Verdict::Warnings),
            ("<simpleWarning in f(): careful>", "", Verdict::Warnings),
            ("<warning/rlang_warning>", "", Verdict::Warnings),
            // With colours.
            (
                "\u{1b}[1m\u{1b}[33mError\u{1b}[39m in `f()`:\u{1b}[22m",
                "Error in `f()`:",
                Verdict::Errors,
            ),
            (
                "\u{1b}]8;;file:a.R\u{7}Error\u{1b}]8;;\u{7}: top",
                "Error: top",
                Verdict::Errors,
            ),
            ("Error in `f()` at a.R:3:5:", "", Verdict::Errors),
            // cat("done"), and then what R says at the end.
            ("doneWarning message:", "", Verdict::Warnings),
            ("done Warning messages:", "", Verdict::Warnings),
            ("fertigWarnmeldung:", "", Verdict::Warnings),
            (
                "doneThere were 13 warnings (use warnings() to see them)",
                "",
                Verdict::Warnings,
            ),
            ("doneWarning in f(x) : careful", "", Verdict::Warnings),
            ("During startup - Warning message:", "", Verdict::Warnings),
            ("Beim Start - Warnmeldungen:", "", Verdict::Warnings),
            // Of require(), of packages that are not installed, of testthat, of shells.
            ("Failed with error:  \u{2018}x\u{2019}", "", Verdict::Errors),
            (
                "ERROR: compilation failed for package \u{2018}x\u{2019}",
                "",
                Verdict::Errors,
            ),
            ("── Failure (test-a.R:1:1): a ──", "", Verdict::Errors),
            ("Killed", "", Verdict::Errors),
            ("Bus error", "", Verdict::Errors),
            ("Aborted", "", Verdict::Errors),
            (
                "/study/a.sh: line 3: 4711 Killed                  sort x",
                "",
                Verdict::Errors,
            ),
            ("bash: line 1: 16522 Floating point exceptionprog", "", Verdict::Errors),
            (
                "terminate called after throwing an instance of 'std::runtime_error'",
                "",
                Verdict::Errors,
            ),
            ("free(): invalid pointer", "", Verdict::Errors),
            ("Traceback (most recent call last):", "", Verdict::Errors),
            ("[ FAIL 12 | WARN 0 | SKIP 0 | PASS 0 ]", "", Verdict::Errors),
            (
                "\r[ FAIL 0 | WARN 0 | SKIP 0 | PASS 1 ]\r[ FAIL 0 | WARN 1 | SKIP 0 | PASS 2 ]",
                "[ FAIL 0 | WARN 1 | SKIP 0 | PASS 2 ]",
                Verdict::Warnings,
            ),
            ("sh: 1: cannot create /x: No space left on device", "", Verdict::Errors),
        ] {
            let (result, found, _) = verdict(&["[1] 1", line]);
            let told = if told.is_empty() { line } else { told };
            assert_eq!((result, found.as_deref()), (expected, Some(told)), "{line}");
        }
    }

    #[test]
    fn a_line_of_many_beginnings_is_searched_once() {
        for text in ["...", "Error in f(", "<simpleError", "\u{1b}", "\r", "Error in `", "%"] {
            assert_eq!(verdict(&[&text.repeat(5000)]).0, Verdict::Clean, "{text}");
        }
    }

    #[test]
    fn the_strata_of_errors_of_an_analysis_of_variance_are_none() {
        for lines in [
            ["Error: block", "          Df Sum Sq Mean Sq F value Pr(>F)"],
            ["Error: Within", "          Df Pillai approx F num Df den Df Pr(>F)"],
        ] {
            assert_eq!(verdict(&lines).0, Verdict::Clean, "{lines:?}");
        }
        assert_eq!(verdict(&["Error: block", "Execution halted"]).0, Verdict::Errors);
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
    fn no_message_is_passed_over_unread() {
        for format in MESSAGES.into_iter().flatten() {
            assert!(mark_of(format).len() > 3, "{format}: {}", mark_of(format));
            for call in ["f(x)", "", "é"] {
                let line = format.replace("%s", call).replace("%c", call);
                for line in [
                    &line,
                    line.trim(),
                    &format!("... {line}text"),
                    &format!("In f() : {line}"),
                ] {
                    let found = kind_of_parts(line, None);
                    assert!(found.is_none() || may_be_of_r(line), "{line}");
                }
            }
        }
        for line in include_str!("verdict_samples.txt").lines() {
            let found = kind_of_parts(line, None);
            assert!(found.is_none() || may_be_of_r(line), "{line}");
        }
        assert!(!may_be_of_r(
            "2026-11-27 12:00:01 INFO: read adsl.rds (n = 7), no errors"
        ));
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
            "Error: 0.05",
            "Error: -1.2e-05 (5 %)",
            "Error : NA",
            "Error in measurement : 0.5",
            "Warning: 0",
            "Mean Squared Error : 0.4",
            "Standard Error in group 1 : low",
            "[1] \"Error in f() : quoted\"",
            "Error en la tabla: ninguno",
            "The Error in follow-up: none",
            "x < error: 5",
            "<errors>",
            "\u{1b}[32mall is well\u{1b}[39m",
            "|Error: of a table |",
            "Killed in action",
            "Aborted: 3 of 12",
            "a.sh: line 3: 4711 records",
            "a.R: line 3: Killed",
            "Error: none",
            "Warning: none",
            "[ FAIL 0 | WARN 0 | SKIP 1 | PASS 2 ]",
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
