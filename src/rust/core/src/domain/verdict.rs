//! The verdict of a log: whether R printed errors or warnings in it.
//!
//! A program that ends with status 0 is Succeeded for Kubernetes, also where `options(error = )`, `try()` or a lost worker
//! let R go on after an error. The verdict stands beside that status and never changes it.
//!
//! R prints its messages in the language of its session. The texts are those of R's own catalogues (`R.mo` and
//! `R-parallel.mo` of R 4.2) and what R 4.2 prints with them; those that R leaves in English in a language need no entry.

use serde::Serialize;

use crate::domain::job_status::{self, Status};
use crate::kubernetes::objects::Pod;

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

/// The warnings of `parallel::mclapply()` about workers whose results are lost or are errors. R indents them.
const LOST_RESULTS: &[&str] = &[
    "scheduled core%s did not deliver ",
    "scheduled core%s encountered error",
    "all scheduled cores encountered errors in user code",
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

fn kind(line: &str) -> Option<Kind> {
    let any = |formats: &[&str], line: &str| formats.iter().any(|format| begins_as(format, line));
    let trimmed = line.trim_end();
    if any(ERRORS, line) || HALTED.contains(&trimmed) {
        return Some(Kind::Error);
    }
    if any(LOST_RESULTS, line.trim_start()) {
        return Some(Kind::LostResults);
    }
    let is_warning = match IN_ADDITION.iter().find_map(|words| trimmed.strip_prefix(words)) {
        Some(after) => {
            let after = after.trim_start();
            WARNING_HEADERS.iter().any(|header| after == header.trim_start()) || any(WARNINGS, after)
        }
        None => WARNING_HEADERS.contains(&trimmed) || any(WARNINGS, line),
    };
    is_warning.then_some(Kind::Warning)
}

/// The longest text of a line that is told, in characters.
const LONGEST_LINE: usize = 500;

/// The verdict of the lines of a log. The worst kind wins; of that the first line is told.
pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Finding {
    let mut worst: Option<(Kind, &str)> = None;
    for line in lines {
        match kind(line) {
            Some(kind) if worst.is_none_or(|(before, _)| before < kind) => worst = Some((kind, line)),
            _ => continue,
        }
        if matches!(worst, Some((Kind::Error, _))) {
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
        line: worst.map(|(_, line)| line.trim().chars().take(LONGEST_LINE).collect()),
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
pub fn of_log(pod: &Pod, lines: &[String]) -> Option<Finding> {
    let of_lines = || of_lines(lines.iter().map(String::as_str));
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
        let found = of_lines(lines.iter().copied());
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
        assert_eq!(line.as_deref(), Some("Warning messages:"));
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
        assert_eq!(of_lines([line.as_str()]).line.unwrap().chars().count(), LONGEST_LINE);
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
        let found = of_log(&pod("Failed", "", end(1, "Error")), &lines).unwrap();
        assert_eq!(found.line.as_deref(), Some("Error: boom"));
        assert!(!found.work_is_missing);
        let found = of_log(&pod("Failed", "", end(137, "OOMKilled")), &lines).unwrap();
        assert_eq!((found.verdict, found.line), (Verdict::Killed, None));
        assert_eq!(of_log(&pod("Running", "", Value::Null), &lines), None);
    }
}
