//! `--log-driver` and `--log-opt`.

use crate::error::Error;
use crate::parse::{self, ParseError};
use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a container's output is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's format, in a file.
    #[default]
    JsonFile,
    /// The format of Kubernetes' container runtime interface, in a file.
    K8sFile,
    /// The journal of systemd.
    Journald,
    /// Nowhere.
    None,
}

impl LogDriver {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            LogDriver::JsonFile => "json-file",
            LogDriver::K8sFile => "k8s-file",
            LogDriver::Journald => "journald",
            LogDriver::None => "none",
        }
    }

    /// The file of the container's directory that it writes to, if it writes to one.
    pub(crate) fn file(self) -> Option<&'static str> {
        match self {
            LogDriver::JsonFile => Some(super::JSON_NAME),
            LogDriver::K8sFile => Some(super::K8S_NAME),
            LogDriver::Journald | LogDriver::None => None,
        }
    }

    /// The names of its options.
    fn options(self) -> &'static [&'static str] {
        match self {
            LogDriver::JsonFile => {
                &["max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"]
            }
            LogDriver::K8sFile => &["max-size", "max-file"],
            LogDriver::Journald => &["tag", "labels", "labels-regex", "env", "env-regex"],
            LogDriver::None => &[],
        }
    }
}

/// How a container's output is kept: by default as Docker's json-file, without end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// `--log-driver`.
    pub driver: LogDriver,
    /// `--log-opt max-size`: the bytes that a file has at most; then the next begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// `--log-opt max-file`: how many files there are, with the one that is written; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file: Option<u32>,
    /// `--log-opt compress`: whether the files that are full are compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
    /// `--log-opt tag`: what the journal calls it, by default the first digits of the id; in a json-file it stands beside
    /// each line, if it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// `--log-opt labels`: the container's labels that every record has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// `--log-opt env`: the container's variables that every record has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `--log-opt labels-regex`: every record has the labels whose names have this in them, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_regex: Option<String>,
    /// `--log-opt env-regex`: the same of variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_regex: Option<String>,
}

/// Who has a log, as far as a record may tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// `NAME=VALUE`.
    pub(crate) env: &'a [String],
}

/// What every record of a container's log has beside its text: labels, variables and a tag, by their names.
pub(crate) type Attributes = BTreeMap<String, String>;

/// What a tag may have in it, to be replaced.
pub(super) const IN_TAGS: [&str; 3] = ["{{.ID}}", "{{.FullID}}", "{{.Name}}"];

impl LogOptions {
    /// `--log-driver`.
    pub fn set_driver(&mut self, text: &str) -> Result<(), ParseError> {
        const ALL: [LogDriver; 4] = [LogDriver::JsonFile, LogDriver::K8sFile, LogDriver::Journald, LogDriver::None];
        let found = ALL.into_iter().find(|driver| driver.name() == text);
        self.driver = found.ok_or_else(|| {
            ParseError::new(text, "this release has the log drivers json-file, k8s-file, journald and none")
        })?;
        Ok(())
    }

    /// `--log-opt NAME=VALUE`.
    pub fn add_option(&mut self, text: &str) -> Result<(), ParseError> {
        let wrong = |reason| Err(ParseError::new(text, reason));
        match text.split_once('=') {
            // As Docker: no end.
            Some(("max-size", "-1")) => self.max_size = None,
            Some(("max-size", value)) => match parse::size(value) {
                Ok(size) if size > 0 => self.max_size = Some(size),
                _ => return wrong("write a size, as max-size=10m"),
            },
            Some(("max-file", value)) => match value.parse() {
                Ok(count) if count > 0 => self.max_file = Some(count),
                _ => return wrong("write how many files there may be, 1 or more"),
            },
            Some(("compress", value)) => match parse::boolean(value) {
                Ok(is_wanted) => self.compress = Some(is_wanted),
                Err(_) => return wrong("write compress=true or compress=false"),
            },
            Some(("tag", value)) => self.tag = Some(tag(text, value)?),
            Some(("labels", value)) => self.labels = names(value),
            Some(("env", value)) => self.env = names(value),
            Some(("labels-regex", value)) => self.labels_regex = Some(expression(text, value)?),
            Some(("env-regex", value)) => self.env_regex = Some(expression(text, value)?),
            _ => {
                return wrong(
                    "the options of log drivers are labels=NAME,... labels-regex=EXPRESSION, env=NAME,... \
                     env-regex=EXPRESSION, max-size=SIZE, max-file=NUMBER, compress=BOOL and tag=TEXT",
                );
            }
        }
        Ok(())
    }

    /// Looks whether the options go together, when all are known.
    pub fn check(&self) -> Result<(), Error> {
        let given = [
            ("max-size", self.max_size.is_some()),
            ("max-file", self.max_file.is_some()),
            ("compress", self.compress.is_some()),
            ("tag", self.tag.is_some()),
            ("labels", !self.labels.is_empty()),
            ("env", !self.env.is_empty()),
            ("labels-regex", self.labels_regex.is_some()),
            ("env-regex", self.env_regex.is_some()),
        ];
        let known = self.driver.options();
        if let Some((name, _)) = given.into_iter().find(|(name, is_given)| *is_given && !known.contains(name)) {
            let has = if known.is_empty() { "no options".to_owned() } else { known.join(", ") };
            let driver = self.driver.name();
            return Err(Error::Conflict(format!(
                "--log-opt {name} is nothing that the log driver {driver} can do: it has {has}"
            )));
        }
        if self.max_file.is_some_and(|count| count > 1) && self.max_size.is_none() {
            return Err(Error::Conflict("--log-opt max-file does nothing without max-size".to_owned()));
        }
        if self.compress == Some(true) && self.max_file.is_none_or(|count| count < 2) {
            let why = "--log-opt compress=true needs files that are full: max-file of 2 or more, and max-size";
            return Err(Error::Conflict(why.to_owned()));
        }
        Ok(())
    }

    /// What every record has: of the container's labels and variables those that are named, or whose names are meant, and
    /// in a json-file the tag.
    pub(crate) fn attributes(&self, subject: &Subject<'_>) -> Attributes {
        let is_meant = |names: &[String], expression: Option<&String>| {
            let names = names.to_vec();
            // It was read before, when it was given.
            let expression = expression.and_then(|text| Regex::new(text).ok());
            move |name: &str| {
                names.iter().any(|one| one == name) || expression.as_ref().is_some_and(|meant| meant.is_match(name))
            }
        };
        let is_label = is_meant(&self.labels, self.labels_regex.as_ref());
        let is_variable = is_meant(&self.env, self.env_regex.as_ref());
        let labels = subject.labels.iter().filter(|(name, _)| is_label(name));
        let variables =
            subject.env.iter().filter_map(|line| line.split_once('=')).filter(|(name, _)| is_variable(name));
        let mut all: Attributes = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
        all.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if self.driver == LogDriver::JsonFile && self.tag.is_some() {
            all.insert("tag".to_owned(), self.tag_of(subject.id, subject.name));
        }
        all
    }

    /// The tag, with what is to be replaced in it.
    pub(super) fn tag_of(&self, id: &str, name: &str) -> String {
        let short = id.get(..12).unwrap_or(id);
        let tag = self.tag.as_deref().unwrap_or("{{.ID}}");
        IN_TAGS.iter().zip([short, id, name]).fold(tag.to_owned(), |tag, (what, by)| tag.replace(what, by))
    }
}

/// Names with commas between them.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A regular expression that can be read.
fn expression(text: &str, value: &str) -> Result<String, ParseError> {
    let wrong = |why: &dyn std::fmt::Display| ParseError::new(text, format!("it is no regular expression: {why}"));
    if value.is_empty() {
        return Err(wrong(&"it is empty"));
    }
    Regex::new(value).map_err(|error| wrong(&error))?;
    Ok(value.to_owned())
}

fn tag(text: &str, value: &str) -> Result<String, ParseError> {
    let bare = IN_TAGS.iter().fold(value.to_owned(), |tag, what| tag.replace(what, ""));
    if bare.contains("{{") {
        return Err(ParseError::new(text, format!("what a tag may have in braces is {}", IN_TAGS.join(", "))));
    }
    if value.is_empty() || value.contains(char::is_control) {
        return Err(ParseError::new(text, "a tag is one line of text"));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_held_against_the_driver() {
        let none: &[&str] = &[];
        for (driver, options, expected) in [
            ("json-file", none, Ok(())),
            ("json-file", &["max-size=10m", "max-file=3"], Ok(())),
            ("json-file", &["max-size=10m"], Ok(())),
            ("json-file", &["labels=a,b", "env=C"], Ok(())),
            ("k8s-file", &["labels=a"], Err("labels is nothing that the log driver k8s-file can do")),
            ("none", &["env=a"], Err("it has no options")),
            ("journald", &["env=a", "labels= b"], Ok(())),
            ("json-file", &["max-file=1"], Ok(())),
            ("json-file", &["max-file=3", "max-size=-1"], Err("max-file does nothing without max-size")),
            ("json-file", &["tag={{.Name}}", "labels-regex=^com[.]", "env-regex=^(A|B)$"], Ok(())),
            ("journald", &["labels-regex=x", "env-regex=y"], Ok(())),
            ("json-file", &["env-regex=("], Err("it is no regular expression")),
            ("json-file", &["labels-regex="], Err("it is empty")),
            (
                "k8s-file",
                &["tag=x"],
                Err("tag is nothing that the log driver k8s-file can do: it has max-size, max-file"),
            ),
            ("k8s-file", &["env-regex=x"], Err("env-regex is nothing that the log driver k8s-file can do")),
            ("k8s-file", &["max-size=1k"], Ok(())),
            ("journald", &["tag={{.Name}}/{{.ID}}"], Ok(())),
            ("journald", &["max-size=1k"], Err("max-size is nothing that the log driver journald can do: it has tag")),
            ("none", none, Ok(())),
            ("none", &["max-size=1k"], Err("it has no options")),
            ("local", none, Err("json-file, k8s-file, journald and none")),
            ("json-file", &["max-size=0"], Err("write a size")),
            ("json-file", &["max-size=ten"], Err("write a size")),
            ("json-file", &["max-file=0"], Err("1 or more")),
            ("json-file", &["compress=true", "max-size=1m", "max-file=2"], Ok(())),
            ("json-file", &["compress=false"], Ok(())),
            ("json-file", &["compress=true"], Err("max-file of 2 or more, and max-size")),
            ("json-file", &["compress=1", "max-size=1m", "max-file=1"], Err("max-file of 2 or more")),
            ("json-file", &["compress=true", "max-file=2"], Err("max-file does nothing without max-size")),
            ("json-file", &["compress=yes"], Err("write compress=true or compress=false")),
            ("k8s-file", &["compress=false"], Err("compress is nothing that the log driver k8s-file can do")),
            ("json-file", &["compression=1"], Err("max-size=SIZE, max-file=NUMBER, compress=BOOL and tag=TEXT")),
            ("json-file", &["max-size"], Err("max-size=SIZE")),
            ("journald", &["tag={{.ImageName}}"], Err("{{.ID}}, {{.FullID}}, {{.Name}}")),
            ("journald", &["tag=a\nPRIORITY=0"], Err("one line")),
        ] {
            let mut read = LogOptions::default();
            let result = read
                .set_driver(driver)
                .and_then(|()| options.iter().try_for_each(|option| read.add_option(option)))
                .map_err(|error| error.to_string())
                .and_then(|()| read.check().map_err(|error| error.to_string()));
            match (&result, expected) {
                (Ok(()), Ok(())) => {
                    let text = serde_json::to_string(&read).unwrap();
                    assert_eq!(serde_json::from_str::<LogOptions>(&text).unwrap(), read, "{text}");
                }
                (Err(error), Err(part)) if error.contains(part) => {}
                _ => panic!("{driver} {options:?}: {result:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn the_record_names_the_driver_as_it_is_typed() {
        let options = LogOptions { driver: LogDriver::K8sFile, max_size: Some(1), ..LogOptions::default() };
        assert_eq!(serde_json::to_string(&options).unwrap(), r#"{"driver":"k8s-file","max_size":1}"#);
        assert_eq!(serde_json::from_str::<LogOptions>("{}").unwrap(), LogOptions::default());
    }

    #[test]
    fn attributes_are_of_the_container() {
        let mut options = LogOptions::default();
        options.add_option("labels=role, com.example/x,none").unwrap();
        options.add_option("env=A,B,ROLE,C").unwrap();
        let labels = [("role", "db"), ("com.example/x", ""), ("other", "y")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let env = ["A=1=2", "AB=x", "B=", "A=3"].map(str::to_owned);
        let subject = Subject { id: "0123456789abcdef", name: "web", labels: &labels, env: &env };
        let of = |options: &LogOptions| options.attributes(&subject).into_iter().collect::<Vec<(String, String)>>();
        let owned = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(of(&options), owned(&[("A", "3"), ("B", ""), ("com.example/x", ""), ("role", "db")]));
        for (given, expected) in [
            (&["labels-regex=^(role|other)$"][..], &[("other", "y"), ("role", "db")][..]),
            (
                &["labels-regex=^(role|other)$", "labels=com.example/x"],
                &[("com.example/x", ""), ("other", "y"), ("role", "db")],
            ),
            (&["env-regex=^A"], &[("A", "3"), ("AB", "x")]),
            (&["tag=of {{.Name}}"], &[("tag", "of web")]),
        ] {
            let mut options = LogOptions::default();
            given.iter().for_each(|option| options.add_option(option).unwrap());
            assert_eq!(of(&options), owned(expected), "{given:?}");
            // The journal has a field of its own for that.
            options.driver = LogDriver::Journald;
            assert!(of(&options).iter().all(|(name, _)| name != "tag"));
        }
    }

    #[test]
    fn tags() {
        let id = "0123456789abcdef";
        for (tag, expected) in [(None, "0123456789ab"), (Some("{{.Name}} {{.FullID}}"), "web 0123456789abcdef")] {
            let options = LogOptions { tag: tag.map(str::to_owned), ..LogOptions::default() };
            assert_eq!(options.tag_of(id, "web"), expected);
        }
    }
}
