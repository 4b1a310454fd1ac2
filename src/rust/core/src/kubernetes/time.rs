//! Times as Kubernetes writes them: RFC 3339. The API server's are in UTC, a node's in the node's time zone.

use jiff::fmt::temporal::DateTimeParser;
use jiff::Timestamp;

/// Reads a time with its offset, as `2026-03-29T02:00:00.5+01:00`. `None` where it is no time.
pub fn parse(time: impl AsRef<[u8]>) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(time).ok()
}

/// Writes a time as the API server does: in UTC, in whole seconds, the fraction cut off.
pub fn whole_seconds(time: Timestamp) -> String {
    // Before 1970 both parts of a timestamp are negative.
    let second = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_in_whichever_zone_it_is_written() {
        for (written, seconds) in [
            ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2026-06-01T14:00:05.123456789+02:00", "2026-06-01T12:00:05Z"),
            ("2026-06-01T09:00:05-05:00", "2026-06-01T14:00:05Z"),
            ("2026-06-01T00:00:00.999+05:45", "2026-05-31T18:15:00Z"),
            ("1969-12-31T23:59:58.5Z", "1969-12-31T23:59:58Z"),
        ] {
            assert_eq!(parse(written).map(whole_seconds).as_deref(), Some(seconds), "{written}");
        }
        for no_time in ["", "2026-03-01", "2026-13-01T00:00:00Z", "xTy", "2026-03-01T00:00:00"] {
            assert_eq!(parse(no_time), None, "{no_time}");
        }
    }
}
