//! How an image's layers come or go, told on standard error while it lasts.
//!
//! On a terminal a line a layer and one for all of them, redrawn ten times a second at most, no wider and no longer than
//! the terminal: what is done gives way first. No thread draws, no mode of the terminal is changed and the cursor stays
//! visible and at the start of a line after each picture: an end at any moment, by an error or a signal, leaves nothing to
//! restore. Elsewhere a line when a layer is done, and nothing else. Nothing at all is looked at before there is a layer.

use crate::table::{harmless, short_size};
use image::{Events, State};
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two pictures.
const PAUSE: Duration = Duration::from_millis(100);
/// Digits of a digest that are shown.
const SHORT: usize = 12;
/// Width of a bar, where there is room.
const BAR: usize = 30;

/// Tells how layers come. Make one for each image.
pub(crate) struct Progress(Option<Mutex<Picture>>);

impl Progress {
    /// On standard error; quiet tells nothing.
    pub(crate) fn new(is_quiet: bool) -> Progress {
        Progress((!is_quiet).then(|| Mutex::new(Picture::new(Box::new(std::io::stderr()), terminal_size))))
    }

    fn with(&self, act: impl FnOnce(&mut Picture)) {
        if let Some(picture) = &self.0 {
            act(&mut picture.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Events for Progress {
    fn not_here(&self, name: &str) {
        self.with(|picture| picture.say(&format!("Unable to find image '{}' locally\n", harmless(name))));
    }

    fn layer_found(&self, index: usize, digest: &str, size: u64) {
        self.with(|picture| picture.found(index, digest, size));
    }

    fn layer_progress(&self, index: usize, done: u64) {
        self.with(|picture| {
            picture.at(index).done = done;
            picture.draw_if_due(Instant::now());
        });
    }

    fn layer_state(&self, index: usize, state: State) {
        self.with(|picture| picture.state(index, state, Instant::now()));
    }
}

/// Columns and rows of standard error's terminal, if it is one.
fn terminal_size() -> Option<(usize, usize)> {
    if !std::io::stderr().is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
    // A terminal that does not know its size, as a serial line, says 0.
    let or = |known: u16, default| if known == 0 { default } else { usize::from(known) };
    Some(size.map_or((80, 24), |size| (or(size.ws_col, 80), or(size.ws_row, 24))))
}

struct Layer {
    digest: String,
    size: u64,
    done: u64,
    state: State,
    speed: Speed,
}

impl Layer {
    fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Present)
    }
}

struct Picture {
    out: Box<dyn Write + Send>,
    terminal: fn() -> Option<(usize, usize)>,
    layers: Vec<Layer>,
    speed: Speed,
    /// Lines of the last one, which stand above the cursor.
    lines: usize,
    drawn: Option<Instant>,
}

impl Picture {
    fn new(out: Box<dyn Write + Send>, terminal: fn() -> Option<(usize, usize)>) -> Picture {
        Picture { out, terminal, layers: Vec::new(), speed: Speed::default(), lines: 0, drawn: None }
    }

    /// The layer of this number, made up if it was not told of.
    fn at(&mut self, index: usize) -> &mut Layer {
        while self.layers.len() <= index {
            let (digest, speed) = (String::new(), Speed::default());
            self.layers.push(Layer { digest, size: 0, done: 0, state: State::Waiting, speed });
        }
        &mut self.layers[index]
    }

    fn say(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
    }

    fn found(&mut self, index: usize, digest: &str, size: u64) {
        let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
        let layer = self.at(index);
        layer.digest = harmless(hex).chars().take(SHORT).collect();
        layer.size = size;
    }

    fn state(&mut self, index: usize, state: State, now: Instant) {
        let layer = self.at(index);
        let was_over = layer.is_over();
        layer.state = state;
        if layer.is_over() {
            layer.done = layer.size;
        }
        if state == State::Done && !was_over && (self.terminal)().is_none() {
            let line = format!("{}: done, {}\n", self.layers[index].digest, short_size(self.layers[index].size));
            let _ = self.out.write_all(line.as_bytes());
        }
        // The last picture is drawn in any case.
        if self.layers.iter().all(Layer::is_over) {
            self.draw(now);
        } else {
            self.draw_if_due(now);
        }
    }

    fn draw_if_due(&mut self, now: Instant) {
        if self.drawn.is_none_or(|drawn| now.saturating_duration_since(drawn) >= PAUSE) {
            self.draw(now);
        }
    }

    fn draw(&mut self, now: Instant) {
        self.drawn = Some(now);
        let Some((columns, rows)) = (self.terminal)().filter(|_| !self.layers.is_empty()) else { return };
        for layer in self.layers.iter_mut().filter(|layer| layer.state == State::Moving) {
            layer.speed.take(layer.done, now);
        }
        let total = self.total(now);
        // The last row is the cursor's, and the one before it that of all layers.
        let mut surplus = self.layers.len().saturating_sub(rows.saturating_sub(2));
        let mut shown: Vec<String> = Vec::new();
        for layer in &self.layers {
            if surplus > 0 && layer.is_over() {
                surplus -= 1;
            } else {
                shown.push(line(layer, columns));
            }
        }
        shown.truncate(shown.len() - surplus);
        shown.push(total);
        let mut text = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r"),
        };
        for line in &shown {
            // One column stays free: a terminal that has just filled its last one wraps.
            text.extend(line.chars().take(columns.saturating_sub(1)));
            text.push_str("\x1b[K\n");
        }
        if shown.len() < self.lines {
            text.push_str("\x1b[J");
        }
        self.lines = shown.len();
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    /// The line of all layers: what was there does not count.
    fn total(&mut self, now: Instant) -> String {
        let over = self.layers.iter().filter(|layer| layer.is_over()).count();
        let moving = || self.layers.iter().filter(|layer| layer.state != State::Present);
        let (done, size) = moving().fold((0u64, 0u64), |(done, size), layer| {
            (done.saturating_add(layer.done), size.saturating_add(layer.size))
        });
        let all = self.layers.len();
        if over == all {
            return format!("{:SHORT$}  done  {}, {all} of {all} layers", "total", short_size(size));
        }
        self.speed.take(done, now);
        let speed = self.speed.told();
        format!("{:SHORT$}  {} of {}{speed}, {over} of {all} layers", "total", short_size(done), short_size(size))
    }
}

fn line(layer: &Layer, columns: usize) -> String {
    let what = match layer.state {
        State::Waiting => "waiting".to_owned(),
        State::Present => "already here".to_owned(),
        State::Done => format!("done  {}", short_size(layer.size)),
        State::Moving => {
            let numbers = format!("{} / {}{}", short_size(layer.done), short_size(layer.size), layer.speed.told());
            match columns.saturating_sub(SHORT + 2 + 2 + 2 + 32).min(BAR) {
                0..8 => numbers,
                width => format!("{}  {numbers}", bar(layer.done, layer.size, width)),
            }
        }
    };
    format!("{:SHORT$}  {what}", layer.digest)
}

fn bar(done: u64, size: u64, width: usize) -> String {
    let filled = if size == 0 { 0 } else { (u128::from(done.min(size)) * width as u128 / u128::from(size)) as usize };
    let head = if filled < width { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(filled), " ".repeat(width - filled - head.len()))
}

/// Bytes a second of late: what is older than some seconds hardly counts.
#[derive(Default)]
struct Speed {
    last: Option<(Instant, u64)>,
    bytes: Option<f64>,
}

impl Speed {
    fn take(&mut self, done: u64, now: Instant) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, done));
            return;
        };
        let time = now.saturating_duration_since(then).as_secs_f64();
        if time < PAUSE.as_secs_f64() / 2.0 {
            return;
        }
        let new = done.saturating_sub(before) as f64 / time;
        let weight = (time / 3.0).min(1.0);
        self.bytes = Some(self.bytes.map_or(new, |old| old * (1.0 - weight) + new * weight));
        self.last = Some((now, done));
    }

    fn told(&self) -> String {
        self.bytes.map(|bytes| format!("  {}/s", short_size(bytes as u64))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        /// What a terminal shows after it: it knows the few sequences that are used.
        fn screen(&self) -> Vec<String> {
            let (mut lines, mut row, mut column) = (vec![String::new()], 0usize, 0usize);
            let text = self.text();
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\n' => (row, column) = (row + 1, 0),
                    '\r' => column = 0,
                    '\x1b' => {
                        let sequence: String = chars.by_ref().skip(1).take_while(|c| c.is_ascii_digit()).collect();
                        // take_while ate the letter: A has a number, K stands at a line's end, J clears what is below.
                        match sequence.parse::<usize>() {
                            Ok(up) => row = row.checked_sub(up).expect("not above the screen"),
                            Err(_) => lines[row].truncate(column),
                        }
                    }
                    c => {
                        lines[row].truncate(column);
                        lines[row].push(c);
                        column += 1;
                    }
                }
                while lines.len() <= row {
                    lines.push(String::new());
                }
            }
            lines
        }
    }

    fn picture(terminal: fn() -> Option<(usize, usize)>) -> (Picture, Buffer) {
        let buffer = Buffer::default();
        (Picture::new(Box::new(buffer.clone()), terminal), buffer)
    }

    fn fill(picture: &mut Picture, start: Instant) {
        for (n, size) in [5_000_000, 100_000_000, 30].into_iter().enumerate() {
            picture.found(n, &format!("sha256:{n}123456789abcdef"), size);
        }
        picture.state(0, State::Present, start);
        picture.state(1, State::Moving, start);
    }

    #[test]
    fn a_terminal_shows_a_line_a_layer_and_one_for_all() {
        let (mut picture, buffer) = picture(|| Some((80, 24)));
        let start = Instant::now();
        fill(&mut picture, start);
        picture.draw(start);
        picture.at(1).done = 25_000_000;
        picture.draw(start + Duration::from_secs(5));
        assert_eq!(
            buffer.screen(),
            [
                "0123456789ab  already here",
                "1123456789ab  [=======>                      ]  25MB / 100MB  5MB/s",
                "2123456789ab  waiting",
                "total         25MB of 100MB  5MB/s, 1 of 3 layers",
                ""
            ]
        );
        picture.state(1, State::Done, start + Duration::from_secs(6));
        picture.state(2, State::Done, start + Duration::from_secs(6));
        assert_eq!(
            buffer.screen(),
            [
                "0123456789ab  already here",
                "1123456789ab  done  100MB",
                "2123456789ab  done  30B",
                "total         done  100MB, 3 of 3 layers",
                ""
            ]
        );
    }

    #[test]
    fn it_is_redrawn_ten_times_a_second_at_most() {
        let (mut picture, buffer) = picture(|| Some((80, 24)));
        let start = Instant::now();
        fill(&mut picture, start);
        for n in 0..100_000u64 {
            picture.at(1).done = n * 1000;
            picture.draw_if_due(start + Duration::from_micros(n * 10));
        }
        let pictures = buffer.text().matches("total").count();
        assert!((9..=11).contains(&pictures), "{pictures}");
    }

    #[test]
    fn it_fits_into_a_small_terminal() {
        for (terminal, columns, rows) in [
            ((|| Some((20, 4))) as fn() -> _, 20, 4),
            (|| Some((1, 1)), 1, 1),
            (|| Some((0, 2)), 0, 2),
            (|| Some((50, 3)), 50, 3),
        ] {
            let (mut picture, buffer) = picture(terminal);
            let start = Instant::now();
            fill(&mut picture, start);
            picture.draw(start + Duration::from_secs(1));
            picture.at(30).done = 5;
            picture.draw(start + Duration::from_secs(2));
            picture.state(1, State::Done, start + Duration::from_secs(3));
            let screen = buffer.screen();
            assert!(screen.iter().all(|line| line.len() < columns.max(1)), "{screen:?}");
            assert!(picture.lines <= (rows - 1usize).max(1), "{screen:?}");
        }
    }

    #[test]
    fn a_pipe_gets_a_line_when_a_layer_is_done() {
        let (mut picture, buffer) = picture(|| None);
        let start = Instant::now();
        fill(&mut picture, start);
        picture.at(1).done = 7;
        picture.draw(start + Duration::from_secs(1));
        picture.state(1, State::Done, start + Duration::from_secs(2));
        picture.state(1, State::Done, start + Duration::from_secs(2));
        picture.draw(start + Duration::from_secs(3));
        assert_eq!(buffer.text(), "1123456789ab: done, 100MB\n");
    }

    #[test]
    fn it_is_called_from_several_threads() {
        let (picture, buffer) = picture(|| Some((80, 24)));
        let progress = Progress(Some(Mutex::new(picture)));
        std::thread::scope(|scope| {
            for n in 0..8 {
                let events: &dyn Events = &progress;
                scope.spawn(move || {
                    events.layer_found(n, "sha256:00", 1000);
                    events.layer_state(n, State::Moving);
                    (0..1000).for_each(|done| events.layer_progress(n, done));
                    events.layer_state(n, State::Done);
                });
            }
        });
        assert_eq!(buffer.screen().iter().filter(|line| line.contains("done  1kB")).count(), 8);
        Progress::new(true).layer_state(3, State::Done);
    }
}
