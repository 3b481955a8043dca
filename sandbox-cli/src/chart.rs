//! Time and cost by size, as a chart.

use std::path::Path;

use plotters::prelude::*;
use sandbox::{Error, ErrorKind};

use crate::tune::{AtSize, Best, Measured};

const WIDTH: (u32, u32) = (860, 480);
const TIME: RGBColor = RGBColor(31, 102, 161);
const COST: RGBColor = RGBColor(201, 92, 34);

/// Writes the chart; sizes that were not measured are not on it.
pub(crate) fn write(path: &Path, sizes: &[AtSize], best: Best) -> Result<(), Error> {
    let mut svg = String::new();
    draw(&mut svg, sizes, best).map_err(|why| Error::new(ErrorKind::Backend, "draw chart", why))?;
    std::fs::write(path, svg).map_err(|error| unsaved(path, error))
}

/// The error of a chart that cannot be written there.
pub(crate) fn unsaved(path: &Path, error: std::io::Error) -> Error {
    let message = format!("{}: {error}", path.display());
    Error::new(ErrorKind::Save, "--svg", message).with_source(error)
}

fn draw(svg: &mut String, sizes: &[AtSize], best: Best) -> Result<(), String> {
    let text = |error: DrawingAreaErrorKind<_>| error.to_string();
    let measured: Vec<_> =
        sizes.iter().filter_map(|size| Some((size.memory_mb as f64, size.measured()?))).collect();
    let most = |value: fn(&(f64, &Measured)) -> f64| {
        measured.iter().map(value).fold(0.0, f64::max).max(1e-9) * 1.15
    };
    let right = most(|(mb, _)| *mb);
    let (time, cost) = (most(|(_, m)| m.run_ms[2]), most(|(_, m)| m.usd_per_million));
    let area = SVGBackend::with_string(svg, WIDTH).into_drawing_area();
    area.fill(&WHITE).map_err(text)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .caption("Time and cost by memory", ("sans-serif", 20))
        .x_label_area_size(44)
        .y_label_area_size(64)
        .right_y_label_area_size(64)
        .build_cartesian_2d(0.0..right, 0.0..time)
        .map_err(text)?
        .set_secondary_coord(0.0..right, 0.0..cost);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("MB of memory; 1,769 MB have one processor")
        .y_desc("milliseconds")
        .x_label_formatter(&|mb| format!("{mb:.0}"))
        .y_label_formatter(&|ms| format!("{ms:.0}"))
        .draw()
        .map_err(text)?;
    chart.configure_secondary_axes().y_desc("dollars for a million runs").draw().map_err(text)?;
    let points = |value: fn(&Measured) -> f64| {
        measured.iter().map(move |(mb, measured)| (*mb, value(measured))).collect::<Vec<_>>()
    };
    let times = points(|measured| measured.run_ms[0]);
    chart
        .draw_series(LineSeries::new(times, TIME.stroke_width(2)).point_size(4))
        .map_err(text)?
        .label("time, with least and most")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], TIME.stroke_width(2)));
    let whiskers = measured.iter().map(|(x, measured)| {
        let [_, least, most] = measured.run_ms;
        PathElement::new([(*x, least), (*x, most)], TIME.stroke_width(1))
    });
    chart.draw_series(whiskers).map_err(text)?;
    chart
        .draw_secondary_series(
            LineSeries::new(points(|measured| measured.usd_per_million), COST.stroke_width(2))
                .point_size(4),
        )
        .map_err(text)?
        .label("cost")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], COST.stroke_width(2)));
    let names = [
        (best.by_speed, "best by speed"),
        (best.balanced, "best of both"),
        (best.by_cost, "best by cost"),
    ];
    for (line, (index, name)) in names.into_iter().enumerate() {
        let Some(measured) = sizes[index].measured() else { continue };
        let (x, y) = (sizes[index].memory_mb as f64, measured.run_ms[0]);
        let offset = (8, -18 - 14 * i32::try_from(line).unwrap_or_default());
        let label = EmptyElement::at((x, y)) + Text::new(name, offset, ("sans-serif", 13));
        chart.draw_series([label]).map_err(text)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperMiddle)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(text)?;
    area.present().map_err(text)
}
