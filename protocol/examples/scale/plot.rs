//! Curves over the number of agents, both axes logarithmic, as SVG.

use std::fmt::Write;

/// A curve and its name. Its points are numbers of agents and values.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves under one heading, drawn beside other panels on the same axes.
pub(crate) struct Panel {
    pub(crate) heading: &'static str,
    pub(crate) curves: Vec<Curve>,
}

/// Colours that can be told apart by people who do not see all of them (Okabe and Ito, 2008).
const COLOURS: [&str; 7] = ["#000000", "#56b4e9", "#009e73", "#d55e00", "#0072b2", "#cc79a7", "#e69f00"];

/// Where things are, in pixels.
const TOP: f64 = 64.0;
const LEFT: f64 = 48.0;
const WIDTH: f64 = 290.0;
const HEIGHT: f64 = 300.0;
/// Room for the names of curves, at their right ends, one below the other.
const NAMES: f64 = 150.0;
const NAME_HEIGHT: f64 = 14.0;
/// A logarithmic axis has no 0: it is drawn so far below the rest.
const ZERO: f64 = 24.0;

/// The axes, which all panels share.
struct Axes<'a> {
    agents: &'a [usize],
    /// Powers of ten between which all values are, but 0.
    lowest: i32,
    highest: i32,
}

impl Axes<'_> {
    fn x(&self, agents: f64) -> f64 {
        let (first, last) = (self.agents[0] as f64, self.agents[self.agents.len() - 1] as f64);
        WIDTH * (agents / first).log2() / (last / first).log2()
    }

    fn y(&self, value: f64) -> f64 {
        if value == 0.0 {
            return HEIGHT;
        }
        let part = (value.log10() - f64::from(self.lowest)) / f64::from(self.highest - self.lowest);
        (HEIGHT - ZERO) * (1.0 - part)
    }

    fn draw(&self, to: &mut String) {
        let ticks = (self.lowest..=self.highest).map(|power| 10f64.powi(power));
        for value in std::iter::once(0.0).chain(ticks) {
            let y = self.y(value);
            line(to, (0.0, y), (WIDTH, y), "#dddddd");
            text(to, (-6.0, y + 4.0), "end", "#555555", &value.to_string());
        }
        for &agents in self.agents {
            let x = self.x(agents as f64);
            line(to, (x, 0.0), (x, HEIGHT), "#eeeeee");
            text(to, (x, HEIGHT + 18.0), "middle", "#555555", &agents.to_string());
        }
        text(to, (WIDTH / 2.0, HEIGHT + 38.0), "middle", "#555555", "agents");
    }
}

/// Draws panels side by side.
pub(crate) fn svg(title: &str, agents: &[usize], panels: &[Panel]) -> String {
    let values = || panels.iter().flat_map(|p| &p.curves).flat_map(|c| &c.points).map(|(_, value)| *value);
    let powers = || values().filter(|value| *value > 0.0).map(f64::log10);
    let lowest = powers().fold(f64::INFINITY, f64::min).floor() as i32;
    let highest = powers().fold(f64::NEG_INFINITY, f64::max).ceil() as i32;
    let axes = Axes { agents, lowest, highest };
    let panel_width = LEFT + WIDTH + NAMES;
    let (width, height) = (panel_width * panels.len() as f64, TOP + HEIGHT + 52.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (LEFT, 22.0), "start", "#000000", title);
    for (number, panel) in panels.iter().enumerate() {
        let left = LEFT + panel_width * number as f64;
        writeln!(svg, "<g transform=\"translate({left} {TOP})\">").expect("a string takes all");
        text(&mut svg, (0.0, -14.0), "start", "#000000", panel.heading);
        axes.draw(&mut svg);
        draw_curves(&mut svg, &axes, &panel.curves);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_curves(to: &mut String, axes: &Axes<'_>, curves: &[Curve]) {
    let mut names = Vec::new();
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let at = |(agents, value): &(f64, f64)| (axes.x(*agents), axes.y(*value));
        let points: Vec<(f64, f64)> = curve.points.iter().map(at).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        writeln!(to, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>")
            .expect("a string takes all");
        for (x, y) in &points {
            writeln!(to, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")
                .expect("a string takes all");
        }
        names.extend(points.last().map(|(_, y)| (*y, curve.name, colour)));
    }
    names.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    for ((_, name, colour), y) in names.iter().zip(apart(names.iter().map(|(y, ..)| *y).collect())) {
        text(to, (WIDTH + 8.0, y + 4.0), "start", colour, name);
    }
}

/// Moves what is too close to each other apart, as little as can be; all of it stays in order and above the axis.
fn apart(mut places: Vec<f64>) -> Vec<f64> {
    for at in 1..places.len() {
        places[at] = places[at].max(places[at - 1] + NAME_HEIGHT);
    }
    let mut floor = HEIGHT;
    for place in places.iter_mut().rev() {
        *place = place.min(floor);
        floor = *place - NAME_HEIGHT;
    }
    places
}

fn line(to: &mut String, from: (f64, f64), until: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, until);
    writeln!(to, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{colour}\"/>")
        .expect("a string takes all");
}

fn text(to: &mut String, at: (f64, f64), anchor: &str, colour: &str, words: &str) {
    let (x, y) = at;
    writeln!(to, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>")
        .expect("a string takes all");
}
