//! `--format` of a verb that lists things: Docker's `table ...`, `json`, or a template a thing.

use super::{Backslashes, Data, Template};
use crate::report::Failure;
use crate::table;

/// One thing that is listed: a struct whose fields templates name.
pub(crate) type Row = Data;

/// How things are listed.
#[derive(Debug)]
pub(crate) struct List {
    template: Template,
    is_table: bool,
}

impl List {
    /// Reads a format as typed: none, an empty one and `table` are the verb's own, which is a table; `json` is every
    /// field of a thing in a line. `\t` and `\n` stand for a tab and a newline.
    pub(crate) fn parse(format: Option<&str>, default: &str) -> Result<List, Failure> {
        let format = match format.unwrap_or_default().trim() {
            "" | "table" => default,
            "json" => "{{json .}}",
            format => format,
        };
        let columns =
            format.strip_prefix("table").filter(|rest| rest.starts_with([' ', '\t']) || rest.starts_with("\\t"));
        let template = Template::parse(columns.unwrap_or(format).trim_start(), Backslashes::Read)?;
        Ok(List { template, is_table: columns.is_some() })
    }

    /// The text: a line a thing. A table has a heading; that of a field is in `headings`, or its name in capitals. `like`
    /// is any row: it has the fields, also when there is nothing to list.
    pub(crate) fn render(&self, rows: &[Row], like: &Row, headings: &[(&str, &str)]) -> Result<String, Failure> {
        let mut text = String::new();
        if self.is_table {
            text = self.template.headings(&with_headings(like, headings))? + "\n";
        }
        for row in rows {
            let line = self.template.render(row)?;
            text.push_str(&if self.is_table { table::harmless(&line) } else { line });
            text.push('\n');
        }
        Ok(if self.is_table { table::aligned(&text) } else { text })
    }
}

/// A heading for each field of a row.
fn with_headings(row: &Row, headings: &[(&str, &str)]) -> Data {
    let Data::Struct(fields) = row else { return Data::Missing };
    let heading = |name: &str| {
        let told = headings.iter().find(|(known, _)| *known == name);
        told.map_or_else(|| capitals(name), |(_, heading)| (*heading).to_owned())
    };
    Data::Struct(fields.iter().map(|(name, _)| (*name, heading(name).into())).collect())
}

/// `CreatedAt` as `CREATED AT`.
fn capitals(name: &str) -> String {
    let mut capitals = String::new();
    let mut was_small = false;
    for c in name.chars() {
        if c.is_uppercase() && was_small {
            capitals.push(' ');
        }
        was_small = !c.is_uppercase();
        capitals.extend(c.to_uppercase());
    }
    capitals
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn rows() -> Vec<Row> {
        let row = |id: &str, name: &str, size: u64| {
            let labels = BTreeMap::from([("a".to_owned(), format!("of {name}"))]);
            Data::row()
                .with("ID", id)
                .with("Repository", name)
                .with("CreatedAt", "now")
                .with("Size", size)
                .with("Label", labels)
        };
        vec![row("abc", "alpine", 5), row("d", "registry.example.org/much/longer", 1234)]
    }

    #[test]
    fn formats_of_lists() {
        let default = "table {{.Repository}}\t{{.ID}}\t{{.Size}}";
        let table = "REPOSITORY                         IMAGE ID   SIZE\n\
                     alpine                             abc        5\n\
                     registry.example.org/much/longer   d          1234\n";
        for (format, expected) in [
            (None, table),
            (Some("table"), table),
            (Some(""), table),
            (Some("{{.ID}}\\t{{.Size}}"), "abc\t5\nd\t1234\n"),
            (Some("{{.ID}}\\n"), "abc\n\nd\n\n"),
            (Some("table {{.ID}}\\t{{.CreatedAt}}"), "IMAGE ID   CREATED AT\nabc        now\nd          now\n"),
            (Some("table {{upper .ID}}|{{json .Size}}"), "IMAGE ID|SIZE\nABC|5\nD|1234\n"),
            (
                Some("table {{.ID | printf \"%s\"}}\t{{if .Size}}{{.Size}}{{end}}"),
                "IMAGE ID   SIZE\nabc        5\nd          1234\n",
            ),
            (Some("table {{.Label \"a\"}}"), "LABEL\nof alpine\nof registry.example.org/much/longer\n"),
            (Some("{{.Label \"a\"}}{{.Label \"b\"}}"), "of alpine\nof registry.example.org/much/longer\n"),
            (
                Some("json"),
                "{\"ID\":\"abc\",\"Repository\":\"alpine\",\"CreatedAt\":\"now\",\"Size\":5}\n\
                 {\"ID\":\"d\",\"Repository\":\"registry.example.org/much/longer\",\"CreatedAt\":\"now\",\"Size\":1234}\n",
            ),
            (Some("tables"), "tables\ntables\n"),
        ] {
            let list = List::parse(format, default).unwrap();
            assert_eq!(list.render(&rows(), &rows()[0], &[("ID", "IMAGE ID")]).unwrap(), expected, "{format:?}");
        }
        let list = List::parse(None, "table {{.ID}}\t{{.Size}}").unwrap();
        assert_eq!(list.render(&[], &rows()[0], &[("ID", "IMAGE ID")]).unwrap(), "IMAGE ID   SIZE\n");
        assert!(List::parse(Some("table {{.Nmae}}"), "").unwrap().render(&[], &rows()[0], &[]).is_err());
        let hostile = [Data::row().with("ID", "\u{1b}[2Jx").with("Size", 1)];
        assert_eq!(list.render(&hostile, &hostile[0], &[]).unwrap(), "ID           SIZE\n\\u{1b}[2Jx   1\n");
    }

    #[test]
    fn names_in_capitals() {
        for (name, expected) in
            [("ID", "ID"), ("CreatedAt", "CREATED AT"), ("Repository", "REPOSITORY"), ("ImageID", "IMAGE ID")]
        {
            assert_eq!(capitals(name), expected);
        }
    }
}
