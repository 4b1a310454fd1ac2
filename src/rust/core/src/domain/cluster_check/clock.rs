//! Whether this machine's clock agrees with the cluster's.

use super::Finding;
use crate::kubernetes::time;

/// The name of the check.
pub const CHECK: &str = "clock";

/// How far the clocks may differ, in seconds. Logins that are valid for minutes begin to fail at about five minutes.
const TOLERANCE: f64 = 60.0;

/// Compares this machine's clock with a time that the server gave: `server` is RFC 3339 with whole seconds (the
/// fraction cut off), `before` and `after` are this machine's seconds since 1970 when it was asked and when its answer
/// had come.
pub fn compare(before: f64, after: f64, server: &str) -> Finding {
    let Some(server) = time::parse(server) else {
        return Finding::not_known(CHECK, "The cluster does not tell its time.");
    };
    let server = server.as_second() as f64;
    // The server's time lies between `server` and a second later, ours between `before` and `after`.
    let (least, most) = (before - (server + 1.0), after - server);
    if least > TOLERANCE || most < -TOLERANCE {
        let (direction, difference) = match least > 0.0 {
            true => ("ahead of", least),
            false => ("behind", -most),
        };
        return Finding::problem(
            CHECK,
            format!(
                "This machine's clock is {} {direction} the cluster's; logins and certificates may be refused for it.",
                rough(difference)
            ),
            "Set this machine's clock, or have it set by NTP.",
        );
    }
    if least < -TOLERANCE || most > TOLERANCE {
        return Finding::not_known(
            CHECK,
            "The cluster answered too slowly to compare its clock with this machine's.",
        );
    }
    Finding::ok(
        CHECK,
        "This machine's clock and the cluster's agree to within a minute.",
    )
}

fn rough(seconds: f64) -> String {
    let (count, unit) = match seconds {
        _ if seconds < 120.0 => (seconds, "seconds"),
        _ if seconds < 7200.0 => (seconds / 60.0, "minutes"),
        _ if seconds < 172_800.0 => (seconds / 3600.0, "hours"),
        _ => (seconds / 86_400.0, "days"),
    };
    format!("{count:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster_check::Outcome;

    // `date -u -d 2026-03-01T00:00:00Z +%s`
    const TIME: (&str, f64) = ("2026-03-01T00:00:00Z", 1_772_323_200.0);

    #[test]
    fn a_server_that_does_not_tell_its_time_is_not_judged() {
        assert_eq!(compare(0.0, 1.0, "").outcome, Outcome::NotKnown);
    }

    #[test]
    fn a_difference_is_told_only_where_it_is_certain() {
        let (server, true_time) = TIME;
        for (before, after, outcome) in [
            (0.1, 0.9, Outcome::Ok),
            (-50.0, -49.0, Outcome::Ok),
            (3600.0, 3600.1, Outcome::Problem),
            (-3600.0, -3599.0, Outcome::Problem),
            // The question took 100 seconds: any difference may come from that.
            (-30.0, 70.0, Outcome::NotKnown),
            (-100.0, 10.0, Outcome::NotKnown),
        ] {
            let finding = compare(true_time + before, true_time + after, server);
            assert_eq!(finding.outcome, outcome, "{before} {after}");
        }
        assert!(compare(true_time + 3600.0, true_time + 3600.1, server)
            .what
            .contains("60 minutes ahead of"));
        assert!(compare(true_time - 200_000.0, true_time - 199_999.0, server)
            .what
            .contains("2 days behind"));
    }
}
