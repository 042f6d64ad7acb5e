//! Small tables: columns as wide as their widest cell.

use std::io::{self, Write};

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells under a heading.
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading; a column is set to the right where its heading ends in `>`.
    pub(crate) fn new(heading: &[&str]) -> Table {
        let columns = heading.iter().map(|h| if h.ends_with('>') { Align::Right } else { Align::Left }).collect();
        let names = heading.iter().map(|h| h.trim_end_matches('>').to_owned()).collect();
        Table { columns, rows: vec![names] }
    }

    /// A table of names and values, without a heading.
    pub(crate) fn fields() -> Table {
        Table { columns: vec![Align::Left, Align::Left], rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                match align {
                    Align::Left => line.push_str(&format!("{gap}{cell:<width$}")),
                    Align::Right => line.push_str(&format!("{gap}{cell:>width$}")),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["LOG", "RECORDS>"]);
        table.row(["a", "1,000"]);
        table.row(["clicks", "7"]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), "LOG     RECORDS\na         1,000\nclicks        7\n");
    }
}
