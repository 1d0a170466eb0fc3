//! Cuts the image of a slap scanner into its fingers.
//!
//! The platen is looked at in small cells; cells that something presses on grow together into connected areas, areas too
//! small for a finger are dropped, and one too wide for a finger is cut where the least is pressed. Computation only, a few
//! milliseconds for 1600 x 1000 pixels.

use crate::{Dpi, Gray, Rect};

/// Largest number of fingers on a platen.
pub const MAX_FINGERS: usize = 4;

/// Narrowest and widest print of a finger in millimetres.
const WIDTH_MM: (f32, f32) = (6.0, 27.0);
/// Lowest print of a finger in millimetres.
const HEIGHT_MM: f32 = 7.0;
/// Gaps up to this are bridged, in millimetres: dry prints have holes.
const BRIDGE_MM: f32 = 0.7;

/// The fingers on a platen from left to right, each with the box around its print. Ridges are dark.
#[must_use]
pub fn fingers(image: &Gray, density: Dpi) -> Vec<Rect> {
    let per_mm = f32::from(density.get()) / 25.4;
    let side = ((0.4 * per_mm) as usize).max(2);
    let cell_mm = side as f32 / per_mm;
    let mut grid = Grid::pressed(image, side);
    grid.close((BRIDGE_MM / cell_mm) as usize);

    let widest = (WIDTH_MM.1 / cell_mm) as usize;
    let least = ((WIDTH_MM.0 / cell_mm) as usize, (HEIGHT_MM / cell_mm) as usize);
    let mut areas: Vec<Area> = grid.areas().into_iter().flat_map(|area| area.cut(widest, least.0)).collect();
    areas.retain(|area| {
        let (width, height) = area.size();
        // A print fills its box well; scratches and latent traces do not.
        width >= least.0 && height >= least.1 && area.cells.len() * 5 >= width * height * 2
    });
    areas.sort_by_key(|area| std::cmp::Reverse(area.cells.len()));
    areas.truncate(MAX_FINGERS);
    let mut boxes: Vec<Rect> = areas.iter().map(|area| area.in_pixels(side, image.bounds())).collect();
    boxes.sort_by_key(|rect| 2 * rect.x + rect.width);
    boxes
}

/// Cells of the platen, each pressed or not.
struct Grid {
    columns: usize,
    rows: usize,
    pressed: Vec<bool>,
}

impl Grid {
    fn pressed(image: &Gray, side: usize) -> Self {
        let (columns, rows) = (image.width() as usize / side, image.height() as usize / side);
        let mut sums = vec![(0u32, 0u32); columns * rows];
        for (y, row) in image.rows().enumerate().take(rows * side) {
            let cells = sums.get_mut(y / side * columns..(y / side + 1) * columns).unwrap_or_default();
            for (cell, pixels) in cells.iter_mut().zip(row.chunks_exact(side)) {
                for grey in pixels.iter().map(|grey| u32::from(*grey)) {
                    *cell = (cell.0 + grey, cell.1 + grey * grey);
                }
            }
        }
        let count = (side * side) as f32;
        let moments: Vec<(f32, f32)> = sums
            .iter()
            .map(|(sum, squares)| {
                let mean = *sum as f32 / count;
                (mean, (*squares as f32 / count - mean * mean).max(0.0))
            })
            .collect();
        // The bare platen is the brightest there is.
        let mut means: Vec<f32> = moments.iter().map(|(mean, _)| *mean).collect();
        means.sort_unstable_by(f32::total_cmp);
        let paper = means.get(means.len() * 49 / 50).copied().unwrap_or(255.0);
        let pressed =
            moments.iter().map(|(mean, variance)| *mean < paper - 16.0 || *variance > 120.0).collect();
        Self { columns, rows, pressed }
    }

    /// Fills gaps of up to `2 * reach` cells: grown by `reach`, then shrunk by it.
    fn close(&mut self, reach: usize) {
        for wanted in [true, false] {
            for _ in 0..reach {
                let before = self.pressed.clone();
                let at = |x: Option<usize>, y: Option<usize>| match (x, y) {
                    (Some(x), Some(y)) if x < self.columns && y < self.rows => {
                        before.get(y * self.columns + x).copied().unwrap_or(false)
                    }
                    _ => false,
                };
                let mut cells = self.pressed.iter_mut();
                for y in 0..self.rows {
                    for x in 0..self.columns {
                        let Some(cell) = cells.next() else { return };
                        let around = [
                            at(x.checked_sub(1), Some(y)),
                            at(Some(x + 1), Some(y)),
                            at(Some(x), y.checked_sub(1)),
                            at(Some(x), Some(y + 1)),
                        ];
                        if around.contains(&wanted) {
                            *cell = wanted;
                        }
                    }
                }
            }
        }
    }

    /// Connected areas of pressed cells.
    fn areas(&self) -> Vec<Area> {
        let mut left = self.pressed.clone();
        let mut areas = Vec::new();
        for start in 0..left.len() {
            let mut take = |at: usize| left.get_mut(at).is_some_and(std::mem::take);
            if !take(start) {
                continue;
            }
            let mut open = vec![start];
            let mut cells = Vec::new();
            while let Some(at) = open.pop() {
                let (x, y) = (at % self.columns, at / self.columns);
                cells.push((x, y));
                let beside = [(x > 0).then(|| at - 1), (x + 1 < self.columns).then_some(at + 1)];
                let above = [(y > 0).then(|| at - self.columns), Some(at + self.columns)];
                open.extend(beside.into_iter().chain(above).flatten().filter(|next| take(*next)));
            }
            areas.push(Area { cells });
        }
        areas
    }
}

/// Cells that belong together.
struct Area {
    cells: Vec<(usize, usize)>,
}

impl Area {
    /// First and last column and row.
    fn span(&self) -> ((usize, usize), (usize, usize)) {
        let start = ((usize::MAX, 0), (usize::MAX, 0));
        self.cells.iter().fold(start, |((left, right), (top, bottom)), (x, y)| {
            ((left.min(*x), right.max(*x)), (top.min(*y), bottom.max(*y)))
        })
    }

    fn size(&self) -> (usize, usize) {
        let ((left, right), (top, bottom)) = self.span();
        ((right + 1).saturating_sub(left), (bottom + 1).saturating_sub(top))
    }

    /// Cuts fingers apart that touch: in the middle half, at the column with the fewest cells, until nothing is too wide.
    fn cut(self, widest: usize, narrowest: usize) -> Vec<Self> {
        let narrowest = narrowest.max(1); // so that each part has a column at least
        let ((left, right), _) = self.span();
        let width = self.size().0;
        if width <= widest || width < 2 * narrowest {
            return vec![self];
        }
        let mut counts = vec![0usize; width];
        for (x, _) in &self.cells {
            if let Some(count) = counts.get_mut(x - left) {
                *count += 1;
            }
        }
        // A finger's width from either end; of equals the one nearest to the middle.
        let margin = narrowest.max(width / 8);
        let middle = (left + right) / 2;
        let inner = (left..).zip(counts).skip(margin).take(width - 2 * margin);
        let Some((at, _)) = inner.min_by_key(|(x, count)| (*count, x.abs_diff(middle))) else {
            return vec![self];
        };
        let (west, east): (Vec<_>, Vec<_>) = self.cells.into_iter().partition(|(x, _)| *x < at);
        let mut parts = Self { cells: west }.cut(widest, narrowest);
        parts.extend(Self { cells: east }.cut(widest, narrowest));
        parts
    }

    fn in_pixels(&self, side: usize, bounds: Rect) -> Rect {
        let ((left, _), (top, _)) = self.span();
        let (width, height) = self.size();
        let pixels = |cells: usize| u32::try_from(cells * side).unwrap_or(u32::MAX);
        Rect { x: pixels(left), y: pixels(top), width: pixels(width), height: pixels(height) }
            .grown(0, bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A platen with ovals of stripes at these centres, 300 x 380 pixels each.
    fn platen(centres: &[(f32, f32)]) -> Gray {
        let mut image = Gray::filled(1600, 1000, 240).unwrap();
        for (y, row) in image.rows_mut().enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                let inside = centres.iter().any(|(cx, cy)| {
                    let (dx, dy) = ((x as f32 - cx) / 150.0, (y as f32 - cy) / 190.0);
                    dx * dx + dy * dy < 1.0
                });
                if inside {
                    *pixel = if (x + y / 2) % 9 < 5 { 60 } else { 220 };
                }
            }
        }
        image
    }

    fn near(rect: Rect, centre: (f32, f32)) -> bool {
        let (x, y) = (rect.x as f32 + rect.width as f32 / 2.0, rect.y as f32 + rect.height as f32 / 2.0);
        (x - centre.0).abs() < 20.0 && (y - centre.1).abs() < 20.0
    }

    #[test]
    fn one_to_four_fingers_come_out_left_to_right() {
        let centres = [(200.0, 600.0), (560.0, 400.0), (930.0, 350.0), (1300.0, 430.0)];
        for count in 1..=4 {
            let mut given = centres[..count].to_vec();
            let expected = given.clone();
            given.reverse(); // the order of drawing must not matter
            let found = fingers(&platen(&given), Dpi::FINGER);
            assert_eq!(found.len(), count);
            for (rect, centre) in found.iter().zip(&expected) {
                assert!(near(*rect, *centre), "{rect:?} is not around {centre:?}");
                assert!((280..=330).contains(&rect.width) && (360..=410).contains(&rect.height), "{rect:?}");
            }
        }
    }

    #[test]
    fn fingers_that_touch_are_cut_apart() {
        let centres = [(400.0, 500.0), (680.0, 470.0), (960.0, 500.0)];
        let found = fingers(&platen(&centres), Dpi::FINGER);
        assert_eq!(found.len(), 3, "{found:?}");
        for (rect, centre) in found.iter().zip(&centres) {
            assert!(near(*rect, *centre), "{rect:?} is not around {centre:?}");
        }
    }

    #[test]
    fn an_empty_or_dirty_platen_has_no_fingers() {
        assert!(fingers(&platen(&[]), Dpi::FINGER).is_empty());
        let mut dirty = platen(&[]);
        for (i, pixel) in dirty.pixels_mut().iter_mut().enumerate() {
            let (x, y) = (i % 1600, i / 1600);
            // A long scratch and a speck.
            if y.abs_diff(x / 2) < 4 || (x.abs_diff(800) < 30 && y.abs_diff(100) < 30) {
                *pixel = 90;
            }
        }
        assert!(fingers(&dirty, Dpi::FINGER).is_empty());
    }

    #[test]
    fn tiny_images_are_no_trouble() {
        for (width, height) in [(1, 1), (3, 900), (9, 9)] {
            assert!(fingers(&Gray::filled(width, height, 0).unwrap(), Dpi::FINGER).is_empty());
        }
        // Densities at which a cell is wider than any finger.
        for dpi in [1, 20, 60] {
            assert!(fingers(&platen(&[(500.0, 500.0)]), Dpi::new(dpi).unwrap()).len() <= MAX_FINGERS);
        }
    }

    #[test]
    fn density_scales_the_sizes() {
        // The same prints at twice the density would be half as large in millimetres: still fingers. At five times: dirt.
        let image = platen(&[(500.0, 500.0)]);
        let found = |dpi| fingers(&image, Dpi::new(dpi).unwrap()).len();
        assert_eq!((found(500), found(1000), found(1664)), (1, 1, 0));
    }
}
