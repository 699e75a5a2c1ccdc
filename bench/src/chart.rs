//! The table as an SVG chart: two bars a contender, on a logarithmic scale, since the peers lie a hundredfold apart.

use crate::report::{Report, Row, three_digits};
use crate::timer::Samples;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 62.0;
const ROW: f64 = 42.0;
const BAR: f64 = 14.0;
const HOT: &str = "#2f6fab";
const IDLE: &str = "#9cc2e5";

/// Draws the chart.
pub(crate) fn draw(report: &Report) -> String {
    let medians = report.rows.iter().flat_map(|row| [&row.hot, &row.idle]).filter_map(Samples::median_ms);
    let scale = Scale::over(medians.collect());
    let bottom = TOP + ROW * report.rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        height = bottom + 34.0
    );
    text(&mut svg, (12.0, 22.0), "font-size=\"15\" font-weight=\"bold\"", "A whole run of /bin/true in a container");
    legend(&mut svg);
    for ms in scale.ticks() {
        let x = scale.x(ms);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#dddddd\"/>");
        text(&mut svg, (x, bottom + 18.0), "text-anchor=\"middle\" fill=\"#555555\"", &format!("{ms} ms"));
    }
    for (index, row) in report.rows.iter().enumerate() {
        draw_row(&mut svg, row, TOP + ROW * index as f64 + 5.0, &scale);
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    for (x, color, words) in [(LEFT, HOT, "back to back"), (LEFT + 120.0, IDLE, "after 50 ms of idleness")] {
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"34\" width=\"{BAR}\" height=\"{BAR}\" fill=\"{color}\"/>");
        text(svg, (x + 20.0, 46.0), "", words);
    }
    text(svg, (LEFT + 320.0, 46.0), "fill=\"#555555\"", "medians; the scale is logarithmic; shorter is better");
}

fn draw_row(svg: &mut String, row: &Row, y: f64, scale: &Scale) {
    text(svg, (LEFT - 10.0, y + BAR + 5.0), "text-anchor=\"end\"", &row.contender.name);
    for (samples, color, y) in [(&row.hot, HOT, y), (&row.idle, IDLE, y + BAR + 2.0)] {
        let Some(ms) = samples.median_ms() else { continue };
        let width = scale.x(ms) - LEFT;
        let _ = writeln!(svg, "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{color}\"/>");
        text(svg, (LEFT + width + 6.0, y + BAR - 3.0), "font-size=\"11\"", &three_digits(ms));
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>");
}

/// From milliseconds to places: between the steps of 1, 2 and 5 that enclose all values.
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    const STEPS: [f64; 13] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

    fn over(values: Vec<f64>) -> Scale {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        // Strictly below the least, or the shortest bar could have no length.
        let from = Scale::STEPS.into_iter().rfind(|step| *step < least * 0.8).unwrap_or(Scale::STEPS[0]);
        let to = Scale::STEPS.into_iter().find(|step| *step >= most && *step > from).unwrap_or(most);
        Scale { from, to }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        Scale::STEPS.into_iter().filter(|step| (self.from..=self.to).contains(step))
    }

    fn x(&self, ms: f64) -> f64 {
        let share = (ms.max(self.from) / self.from).ln() / (self.to / self.from).ln();
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_encloses_all_values() {
        for (values, from, to) in [
            (vec![2.3, 34.0], 1.0, 50.0),
            (vec![2.6, 307.0], 2.0, 500.0),
            (vec![3.0], 2.0, 5.0),
            (vec![0.3, 3000.0], 0.2, 3000.0),
        ] {
            let scale = Scale::over(values.clone());
            assert_eq!((scale.from, scale.to), (from, to), "{values:?}");
            assert_eq!(scale.x(from), LEFT);
            assert!((scale.x(to) - (WIDTH - RIGHT)).abs() < 1e-9);
        }
    }
}
