//! What a template is applied to: values with the difference that Go knows between a struct and a map.

use serde::Serialize;
use serde::ser::{self, SerializeMap, SerializeSeq, SerializeStruct};
use std::collections::BTreeMap;
use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    /// What a map does not have: `<no value>`.
    Missing,
    Null,
    Bool(bool),
    // Wide enough for i64 and u64.
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Data>),
    /// Sorted, as Go shows its maps.
    Map(BTreeMap<String, Data>),
    /// In the order of its fields.
    Struct(Vec<(&'static str, Data)>),
    /// What is asked with a word, as `{{.Label "name"}}`. Not part of the JSON.
    Lookup(BTreeMap<String, String>),
}

impl Data {
    /// The data of anything that serde can write. A struct stays one: leave no field out (`skip_serializing_if`) that a
    /// template may name.
    pub(crate) fn of(thing: &(impl Serialize + ?Sized)) -> Data {
        // It fails only on maps whose keys are no words, which none of ours are.
        thing.serialize(Writer).unwrap_or(Data::Null)
    }

    /// An empty struct, to be filled by [`Data::with`].
    pub(crate) fn row() -> Data {
        Data::Struct(Vec::new())
    }

    /// A struct with one more field.
    pub(crate) fn with(self, name: &'static str, value: impl Into<Data>) -> Data {
        match self {
            Data::Struct(mut fields) => {
                fields.push((name, value.into()));
                Data::Struct(fields)
            }
            other => other,
        }
    }

    /// As JSON in one line, as Docker's `json` writes it.
    pub(crate) fn json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text, None, 0);
        text
    }

    /// As JSON over many lines, as `docker inspect` writes it: indented by four blanks.
    pub(crate) fn pretty_json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text, Some(4), 0);
        text
    }

    fn write_json(&self, text: &mut String, indent: Option<usize>, depth: usize) {
        match self {
            Data::Missing | Data::Null | Data::Lookup(_) => text.push_str("null"),
            Data::Bool(b) => text.push_str(if *b { "true" } else { "false" }),
            Data::Int(n) => text.push_str(&n.to_string()),
            Data::Float(f) if f.is_finite() => text.push_str(&super::go::json_float(*f)),
            Data::Float(_) => text.push_str("null"),
            Data::Text(s) => text.push_str(&json_text(s)),
            Data::List(items) => block(text, ['[', ']'], indent, depth, items.iter(), |text, item| {
                item.write_json(text, indent, depth + 1);
            }),
            Data::Map(map) => members(text, indent, depth, map.iter().map(|(name, value)| (name.as_str(), value))),
            Data::Struct(fields) => {
                let shown = fields.iter().filter(|(_, value)| !matches!(value, Data::Lookup(_)));
                members(text, indent, depth, shown.map(|(name, value)| (*name, value)));
            }
        }
    }
}

fn members<'a>(
    text: &mut String,
    indent: Option<usize>,
    depth: usize,
    members: impl Iterator<Item = (&'a str, &'a Data)>,
) {
    block(text, ['{', '}'], indent, depth, members, |text, (name, value)| {
        text.push_str(&json_text(name));
        text.push_str(if indent.is_some() { ": " } else { ":" });
        value.write_json(text, indent, depth + 1);
    });
}

fn block<T>(
    text: &mut String,
    [open, close]: [char; 2],
    indent: Option<usize>,
    depth: usize,
    items: impl Iterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    let line = |text: &mut String, depth| {
        if let Some(width) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    text.push(open);
    let mut is_empty = true;
    for item in items {
        if !is_empty {
            text.push(',');
        }
        is_empty = false;
        line(text, depth + 1);
        write(text, item);
    }
    if !is_empty {
        line(text, depth);
    }
    text.push(close);
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl From<String> for Data {
    fn from(text: String) -> Data {
        Data::Text(text)
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Data {
        Data::Text(text.to_owned())
    }
}

impl From<u64> for Data {
    fn from(number: u64) -> Data {
        Data::Int(number.into())
    }
}

impl From<bool> for Data {
    fn from(truth: bool) -> Data {
        Data::Bool(truth)
    }
}

impl From<BTreeMap<String, String>> for Data {
    fn from(map: BTreeMap<String, String>) -> Data {
        Data::Lookup(map)
    }
}

/// Why a thing has no data.
#[derive(Debug)]
struct NoData(String);

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoData {}

impl ser::Error for NoData {
    fn custom<T: fmt::Display>(text: T) -> NoData {
        NoData(text.to_string())
    }
}

struct Writer;

/// A list, map or struct that is being written; with the name of a variant around it, if it is one.
#[derive(Default)]
struct Parts {
    variant: Option<&'static str>,
    items: Vec<Data>,
    key: Option<String>,
    map: BTreeMap<String, Data>,
    fields: Vec<(&'static str, Data)>,
}

impl Parts {
    fn of(variant: &'static str) -> Parts {
        Parts { variant: Some(variant), ..Parts::default() }
    }

    fn named(self, data: Data) -> Data {
        match self.variant {
            Some(name) => Data::Map(BTreeMap::from([(name.to_owned(), data)])),
            None => data,
        }
    }
}

macro_rules! ints {
    ($($name:ident $type:ty),*) => {
        $(fn $name(self, n: $type) -> Result<Data, NoData> { Ok(Data::Int(n.into())) })*
    };
}

impl ser::Serializer for Writer {
    type Ok = Data;
    type Error = NoData;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    ints!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64);
    ints!(serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64);

    fn serialize_bool(self, b: bool) -> Result<Data, NoData> {
        Ok(Data::Bool(b))
    }

    fn serialize_f32(self, f: f32) -> Result<Data, NoData> {
        Ok(Data::Float(f.into()))
    }

    fn serialize_f64(self, f: f64) -> Result<Data, NoData> {
        Ok(Data::Float(f))
    }

    fn serialize_char(self, c: char) -> Result<Data, NoData> {
        Ok(Data::Text(c.into()))
    }

    fn serialize_str(self, text: &str) -> Result<Data, NoData> {
        Ok(Data::Text(text.to_owned()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Data, NoData> {
        Ok(Data::List(bytes.iter().map(|byte| Data::Int((*byte).into())).collect()))
    }

    fn serialize_none(self) -> Result<Data, NoData> {
        Ok(Data::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, thing: &T) -> Result<Data, NoData> {
        thing.serialize(Writer)
    }

    fn serialize_unit(self) -> Result<Data, NoData> {
        Ok(Data::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Data, NoData> {
        Ok(Data::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Data, NoData> {
        Ok(Data::Text(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, thing: &T) -> Result<Data, NoData> {
        thing.serialize(Writer)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        thing: &T,
    ) -> Result<Data, NoData> {
        Ok(Parts::of(variant).named(thing.serialize(Writer)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, NoData> {
        Ok(Parts::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, NoData> {
        Ok(Parts::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, NoData> {
        Ok(Parts::default())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, NoData> {
        Ok(Parts::of(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts, NoData> {
        Ok(Parts::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts, NoData> {
        Ok(Parts::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, NoData> {
        Ok(Parts::of(variant))
    }
}

impl SerializeSeq for Parts {
    type Ok = Data;
    type Error = NoData;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, thing: &T) -> Result<(), NoData> {
        self.items.push(thing.serialize(Writer)?);
        Ok(())
    }

    fn end(mut self) -> Result<Data, NoData> {
        let items = std::mem::take(&mut self.items);
        Ok(self.named(Data::List(items)))
    }
}

impl ser::SerializeTuple for Parts {
    type Ok = Data;
    type Error = NoData;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, thing: &T) -> Result<(), NoData> {
        SerializeSeq::serialize_element(self, thing)
    }

    fn end(self) -> Result<Data, NoData> {
        SerializeSeq::end(self)
    }
}

macro_rules! tuples {
    ($($name:ident),*) => {$(
        impl ser::$name for Parts {
            type Ok = Data;
            type Error = NoData;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, thing: &T) -> Result<(), NoData> {
                SerializeSeq::serialize_element(self, thing)
            }

            fn end(self) -> Result<Data, NoData> {
                SerializeSeq::end(self)
            }
        }
    )*};
}

tuples!(SerializeTupleStruct, SerializeTupleVariant);

impl SerializeMap for Parts {
    type Ok = Data;
    type Error = NoData;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NoData> {
        self.key = Some(match key.serialize(Writer)? {
            Data::Text(key) => key,
            Data::Int(key) => key.to_string(),
            other => return Err(NoData(format!("no key: {other:?}"))),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoData> {
        self.map.insert(self.key.take().unwrap_or_default(), value.serialize(Writer)?);
        Ok(())
    }

    fn end(self) -> Result<Data, NoData> {
        Ok(Data::Map(self.map))
    }
}

impl SerializeStruct for Parts {
    type Ok = Data;
    type Error = NoData;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NoData> {
        self.fields.push((name, value.serialize(Writer)?));
        Ok(())
    }

    fn end(mut self) -> Result<Data, NoData> {
        let fields = std::mem::take(&mut self.fields);
        Ok(self.named(Data::Struct(fields)))
    }
}

impl ser::SerializeStructVariant for Parts {
    type Ok = Data;
    type Error = NoData;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NoData> {
        SerializeStruct::serialize_field(self, name, value)
    }

    fn end(self) -> Result<Data, NoData> {
        SerializeStruct::end(self)
    }
}
