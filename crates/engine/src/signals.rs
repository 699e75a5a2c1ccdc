//! Signals by name and number, as people and images write them.

/// Names of the signals that have a fixed number, from 1 on. [signal(7)]
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The C library's first real-time signal; those below it are its own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// `9`, `KILL`, `SIGKILL`, `kill`, `RTMIN+3`. 0 asks whether there is a process.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = SIGNALS.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).ok();
    }
    let beyond = |first: i32, rest: &str, sign: char| match rest {
        "" => Some(first),
        rest => {
            let n = rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from)?;
            Some(if sign == '+' { first + n } else { first - n })
        }
    };
    let number = match (name, name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        ("POLL", ..) => Some(29),
        ("CLD", ..) => Some(17),
        ("IOT", ..) => Some(6),
        (_, Some(rest), _) => beyond(RTMIN, rest, '+'),
        (_, _, Some(rest)) => beyond(RTMAX, rest, '-'),
        _ => None,
    };
    number.filter(|number| (1..=RTMAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let cases = [
            ("9", Some(9)),
            ("0", Some(0)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("SYS", Some(31)),
            ("WINCH", Some(28)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("rtmax-30", Some(34)),
            ("RTMAX+1", None),
            ("RTMIN+2147483647", None),
            ("RTMIN+-3", None),
            ("65", None),
            ("-1", None),
            ("", None),
            ("NOPE", None),
        ];
        for (text, expected) in cases {
            assert_eq!(signal_number(text), expected, "{text}");
        }
    }
}
