//! The plots of a row: how long a record took, with the range of the rounds; and how long single calls took, by
//! percentile.
//!
//! Both axes of time are logarithmic, for the slowest is some hundred times as slow as the fastest. Letters are left to
//! whoever shows the SVG: no font is looked for when it is made.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Outcome;
use crate::driver::{Cell, Measured, MeasuredRow, wall_ns};
use crate::figures::Figures;
use crate::spread::{Spread, number, time};

const WIDTH: u32 = 900;
const ROW_HEIGHT: u32 = 34;
/// What is above and below the bars.
const MARGIN: u32 = 60;
/// Where bars begin: right of the names.
const BARS_FROM: i32 = 190;
const BARS_TO: i32 = 720;

/// A column of the table.
#[derive(Clone, Copy)]
struct Peer {
    name: &'static str,
    at: usize,
}

impl Peer {
    fn color(self) -> RGBColor {
        color(if self.name == crate::peers::RAW { BARE } else { self.at })
    }
}

/// The number of the bare calls among the colors.
const BARE: usize = usize::MAX;

/// The bare calls are grey.
fn color(number: usize) -> RGBColor {
    if number == BARE {
        return RGBColor(120, 120, 120);
    }
    let (red, green, blue) = Palette99::COLORS[number % Palette99::COLORS.len()];
    RGBColor(red, green, blue)
}

/// A line through some of the places of a chart.
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Its number among the colors.
    pub(crate) color: usize,
    /// The numbers of the places, rising, and what was measured there.
    pub(crate) points: Vec<(u32, f64)>,
}

/// Both plots of a row; that of latencies where some were measured.
///
/// # Errors
/// If they cannot be drawn or written.
pub(super) fn write(measured: &Measured, row: &MeasuredRow, out: &Path) -> Outcome<()> {
    // The number of a column goes with it: a peer has one color in all plots.
    let columns = measured.columns.iter().enumerate().map(|(at, (name, _))| Peer { name, at });
    let done: Vec<(Peer, &Cell)> =
        columns.zip(&row.cells).filter(|(_, cell)| cell.figures().next().is_some()).collect();
    if done.is_empty() {
        return Ok(());
    }
    let times = done.iter().filter_map(|(peer, cell)| Some((*peer, cell.spread(|figures| Some(wall_ns(figures)))?)));
    bars(row.row.work, &times.collect::<Vec<_>>(), &out.join(format!("{}.svg", row.row.name)))?;
    let lines: Vec<Curve> = done
        .iter()
        .map(|(peer, cell)| Curve {
            name: peer.name.to_string(),
            color: if peer.name == crate::peers::RAW { BARE } else { peer.at },
            points: (0..).zip(latencies(cell)).collect(),
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if !lines.is_empty() {
        let title = format!("{}: time of a call", row.row.work);
        curves(&title, &NAMES, time, &lines, &out.join(format!("{}-latency.svg", row.row.name)))?;
    }
    Ok(())
}

/// The median of each percentile over the rounds, of the maximum the greatest.
fn latencies(cell: &Cell) -> Vec<f64> {
    let of = |at: usize| cell.spread(move |figures: &Figures| Some(number(figures.latency_ns?.named().get(at)?.1)));
    (0..NAMES.len())
        .filter_map(|at| of(at).map(|spread| if at + 1 == NAMES.len() { spread.most } else { spread.median }))
        .collect()
}

const NAMES: [&str; 5] = ["p50", "p99", "p99.9", "p99.99", "max"];

/// Whole powers of ten around some values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let least = values.clone().fold(f64::INFINITY, f64::min).max(1.0);
    let most = values.fold(1.0, f64::max);
    (10_f64.powf(least.log10().floor()), 10_f64.powf((most * 1.001).log10().ceil()))
}

fn bars(title: &str, times: &[(Peer, Spread)], path: &Path) -> Outcome<()> {
    let count = u32::try_from(times.len())?;
    let root = SVGBackend::new(path, (WIDTH, count * ROW_HEIGHT + MARGIN)).into_drawing_area();
    root.fill(&WHITE)?;
    let ink = |size: i32, right: bool| {
        let side = if right { HPos::Right } else { HPos::Left };
        ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center))
    };
    root.draw(&Text::new(format!("{title}: time, on a logarithmic scale"), (10, 20), ink(15, false)))?;
    let (from, to) = decades(times.iter().flat_map(|(_, spread)| [spread.least, spread.most]));
    let at = |ns: f64| {
        let share = (ns.max(from).log10() - from.log10()) / (to.log10() - from.log10());
        pixel(f64::from(BARS_FROM) + share * f64::from(BARS_TO - BARS_FROM))
    };
    let bottom = i32::try_from(count * ROW_HEIGHT)? + 40;
    let mut decade = from;
    while decade <= to * 1.001 {
        root.draw(&PathElement::new(vec![(at(decade), 36), (at(decade), bottom)], BLACK.mix(0.15)))?;
        root.draw(&Text::new(time(decade), (at(decade) - 15, bottom + 10), ink(11, false)))?;
        decade *= 10.0;
    }
    for (row, (peer, spread)) in (0_i32..).zip(times) {
        let middle = 40 + row * i32::try_from(ROW_HEIGHT)? + i32::try_from(ROW_HEIGHT)? / 2;
        let color = peer.color();
        root.draw(&Text::new(peer.name, (BARS_FROM - 10, middle), ink(13, true)))?;
        root.draw(&Rectangle::new([(BARS_FROM, middle - 9), (at(spread.median), middle + 9)], color.filled()))?;
        root.draw(&PathElement::new(
            vec![(at(spread.least), middle), (at(spread.most), middle)],
            BLACK.stroke_width(2),
        ))?;
        let told = format!("{} ({} – {})", time(spread.median), time(spread.least), time(spread.most));
        root.draw(&Text::new(told, (at(spread.most).max(at(spread.median)) + 8, middle), ink(12, false)))?;
    }
    Ok(root.present()?)
}

/// Curves over places that have names, on a logarithmic scale.
///
/// # Errors
/// If they cannot be drawn or written.
pub(crate) fn curves(
    title: &str,
    places: &[&str],
    show: fn(f64) -> String,
    curves: &[Curve],
    path: &Path,
) -> Outcome<()> {
    let root = SVGBackend::new(path, (WIDTH, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let (from, to) = decades(curves.iter().flat_map(|curve| curve.points.iter().map(|(_, value)| *value)));
    let steps = f64::from(u32::try_from(places.len())?) - 1.0;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..steps, (from..to).log_scale())?;
    let name_of =
        |at: &f64| places.get(usize::try_from(pixel(*at)).unwrap_or(places.len())).copied().unwrap_or("").to_string();
    chart
        .configure_mesh()
        .x_labels(places.len())
        .x_label_formatter(&name_of)
        .y_label_formatter(&|value| show(*value))
        .light_line_style(WHITE)
        .draw()?;
    for curve in curves {
        let color = color(curve.color);
        let points = curve.points.iter().map(|(place, value)| (f64::from(*place), *value));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    let place = SeriesLabelPosition::UpperLeft;
    chart
        .configure_series_labels()
        .position(place)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(root.present()?)
}

/// The whole number that is nearest: coordinates are small.
#[allow(clippy::cast_possible_truncation, reason = "a float has no other way, and saturates")]
fn pixel(at: f64) -> i32 {
    at.round() as i32
}

#[cfg(test)]
mod tests {
    use super::{decades, pixel};

    #[test]
    fn the_axis_covers_all_values_in_whole_decades() {
        assert_eq!(decades([30.0, 700.0].into_iter()), (10.0, 1000.0));
        assert_eq!(decades([1000.0].into_iter()), (1000.0, 10_000.0));
        assert_eq!(decades([0.0].into_iter()), (1.0, 10.0));
    }

    #[test]
    fn pixels_are_the_nearest() {
        assert_eq!((pixel(1.5), pixel(-0.4), pixel(f64::INFINITY)), (2, 0, i32::MAX));
    }
}
