//! Lines out of a stream.

use std::ops::ControlFlow;

/// Puts lines together out of the parts of a stream.
#[derive(Default)]
pub(super) struct LineBuffer {
    /// The line that has begun.
    pub(super) pending: Vec<u8>,
}

impl LineBuffer {
    /// Adds a part, and hands over each line that it completes, without its end.
    pub(super) fn push(&mut self, part: &[u8], line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut rest = part;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            rest = &tail[1..];
            if self.pending.is_empty() {
                line(head)?;
            } else {
                self.pending.extend_from_slice(head);
                line(&std::mem::take(&mut self.pending))?;
            }
        }
        self.pending.extend_from_slice(rest);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_lines_wherever_its_parts_end() {
        let mut lines = LineBuffer::default();
        let mut seen = Vec::new();
        for part in ["a", "b\nc", "\n", "\nd\ne\n", "unfinished"] {
            let _ = lines.push(part.as_bytes(), &mut |line| {
                seen.push(String::from_utf8(line.to_vec()).unwrap());
                ControlFlow::Continue(())
            });
        }
        assert_eq!(seen, ["ab", "c", "", "d", "e"]);
    }
}
