//! Templates, as tables; the expected texts are those of Go's text/template as Docker and Podman use it.

use super::*;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    size: u64,
    ratio: f64,
    hidden: bool,
    config: Config,
    tags: Vec<String>,
    none: Option<String>,
    extra: serde_json::Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    env: Vec<String>,
    labels: BTreeMap<String, String>,
    ports: BTreeMap<String, BTreeMap<String, String>>,
}

fn image() -> Data {
    Data::of(&Image {
        id: "sha256:abc".into(),
        size: 7_834_567,
        ratio: 0.5,
        hidden: false,
        config: Config {
            env: vec!["PATH=/bin".into(), "A=<b>".into()],
            labels: BTreeMap::from([("b".into(), "2".into()), ("a".into(), "1 \"x\"".into())]),
            ports: BTreeMap::from([("80/tcp".into(), BTreeMap::new())]),
        },
        tags: Vec::new(),
        none: None,
        extra: serde_json::json!({"z": 1, "a": [true, null, 1.5, "x"]}),
    })
}

fn rendered(text: &str) -> Result<String, String> {
    let template = Template::parse(text, Backslashes::Kept).map_err(|failure| failure.to_string())?;
    template.render(&image()).map_err(|failure| failure.to_string())
}

#[test]
fn templates_become_text() {
    for (template, expected) in [
        ("plain }} text", "plain }} text"),
        ("{{.Id}}", "sha256:abc"),
        ("a {{ .Size }} b", "a 7834567 b"),
        ("{{.Ratio}} {{.Hidden}} {{.None}}", "0.5 false <nil>"),
        ("{{.Config.Env}}", "[PATH=/bin A=<b>]"),
        ("{{.Config.Labels}}", "map[a:1 \"x\" b:2]"),
        ("{{.Config}}", "{[PATH=/bin A=<b>] map[a:1 \"x\" b:2] map[80/tcp:map[]]}"),
        ("{{.Tags}}", "[]"),
        ("{{.Extra}}", "map[a:[true <nil> 1.5 x] z:1]"),
        ("{{.Extra.nothing}}", "<no value>"),
        ("{{.Extra.nothing.more}}", "<no value>"),
        ("{{.Config.Labels.a}}", "1 \"x\""),
        ("{{.Config.Labels.c}}", "<no value>"),
        ("{{json .Config}}", r#"{"Env":["PATH=/bin","A=<b>"],"Labels":{"a":"1 \"x\"","b":"2"},"Ports":{"80/tcp":{}}}"#),
        ("{{.Tags | json}} {{json .None}} {{json .Ratio}}", "[] null 0.5"),
        ("{{json .Extra}}", r#"{"a":[true,null,1.5,"x"],"z":1}"#),
        // Blocks.
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<PATH=/bin><A=<b>>"),
        ("{{range $i, $e := .Config.Env}}{{$i}}:{{$e}} {{end}}", "0:PATH=/bin 1:A=<b> "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=1 \"x\";b=2;"),
        ("{{range $p, $_ := .Config.Ports}}{{$p}}{{end}}", "80/tcp"),
        ("{{range $e := .Config.Env}}{{$e}} {{end}}", "PATH=/bin A=<b> "),
        ("{{range .Tags}}x{{else}}none{{end}}", "none"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range 9}}{{if eq . 2}}{{continue}}{{end}}{{if gt . 3}}{{break}}{{end}}{{.}}{{end}}", "013"),
        ("{{if .Tags}}tags{{else if .Id}}id{{else}}none{{end}}", "id"),
        ("{{if .Hidden}}a{{else if .None}}b{{else}}c{{end}}", "c"),
        ("{{with .Config}}{{.Env}}{{$.Id}}{{end}}", "[PATH=/bin A=<b>]sha256:abc"),
        ("{{with .Tags}}x{{else with .Id}}{{.}}{{end}}", "sha256:abc"),
        ("{{with $x := .Size}}{{$x}}{{end}}", "7834567"),
        // Variables.
        ("{{$x := .Id}}{{$x}} {{$x = 1}}{{$x}}", "sha256:abc 1"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{$x := 1}}{{range 3}}{{$x = .}}{{end}}{{$x}}", "2"),
        ("{{$c := .Config}}{{$c.Labels.b}} {{($c).Labels.b}}", "2 2"),
        // Blanks and comments.
        ("a {{- .Size -}} b", "a7834567b"),
        ("a\n {{- /* why */ -}} \n b", "ab"),
        ("a {{/* why */}} b", "a  b"),
        ("{{ 3 -}} \t x", "3x"),
        ("{{-3}}", "-3"),
        // Literals.
        ("{{\"a\\tb\\\"\\u00e9\\x41\\101\"}} {{`raw \\n`}}", "a\tb\"éAA raw \\n"),
        (
            "{{1_000}} {{0x1F}} {{0b11}} {{0o17}} {{1.50}} {{1e3}} {{-2}} {{'a'}} {{true}}",
            "1000 31 3 15 1.5 1000 -2 97 true",
        ),
        ("{{1e21}} {{1e-5}} {{.5}}", "1e+21 1e-05 0.5"),
        // Functions.
        ("{{index .Config.Labels \"b\"}} {{index .Config.Env 1}} [{{index .Config.Labels \"c\"}}]", "2 A=<b> []"),
        ("{{index .Extra \"a\" 2}} {{index .Extra \"y\"}}", "1.5 <no value>"),
        ("{{len .Config.Env}} {{len .Id}} {{len .Config.Labels}}", "2 10 2"),
        ("{{printf \"%s %d %q %v\" .Id .Size .Id .Config.Env}}", "sha256:abc 7834567 \"sha256:abc\" [PATH=/bin A=<b>]"),
        ("{{println .Id 1}}{{print 1 2 \"a\" \"b\" 3}}", "sha256:abc 1\n1 2ab3"),
        (
            "{{.Id | printf \"%-12s|\"}}{{printf \"%05d|%+d|%x|%X|%.2f|%5t|%%\" 42 42 255 255 1.005 true}}",
            "sha256:abc  |00042|+42|ff|FF|1.00| true|%",
        ),
        ("{{printf \"%d %s %v\" .Id .Size nil}}", "%!d(string=sha256:abc) %!s(int=7834567) <nil>"),
        (
            "{{printf \"%d\"}} {{printf \"x\" 1 \"a\"}} {{printf \"%\"}}",
            "%!d(MISSING) x%!(EXTRA int=1, string=a) %!(NOVERB)",
        ),
        (
            "{{printf \"%q %d %+v\" .Config.Env .Extra.a .Config}}",
            "[\"PATH=/bin\" \"A=<b>\"] [%!d(bool=true) %!d(<nil>) %!d(float64=1.5) %!d(string=x)] {Env:[PATH=/bin A=<b>] Labels:map[a:1 \"x\" b:2] Ports:map[80/tcp:map[]]}",
        ),
        ("{{eq .Id \"sha256:abc\"}} {{eq .Size 1 2 7834567}} {{ne .Id \"x\"}} {{eq .None nil}}", "true true true true"),
        ("{{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1.5 2.5}}", "true true true false"),
        ("{{and .Id .Size}} {{and .Tags .Size}} {{or .Tags .Id}} {{not .Hidden}}", "7834567 [] sha256:abc true"),
        ("{{or .Id (index .Tags 5)}}", "sha256:abc"),
        (
            "{{join .Config.Env \",\"}} {{split \"a,b\" \",\"}} {{(split .Id \":\") | json}}",
            "PATH=/bin,A=<b> [a b] [\"sha256\",\"abc\"]",
        ),
        (
            "{{upper \"ab\"}} {{lower \"AB\"}} {{title \"hello world\"}} {{truncate .Id 6}} [{{pad \"x\" 1 2}}]",
            "AB ab Hello World sha256 [ x  ]",
        ),
        ("{{slice .Id 7 10}} {{slice .Config.Env 1}} {{index (split .Id \":\") 1}}", "abc [A=<b>] abc"),
        ("{{.Id | upper | printf \"%s-%s\" \"x\" | lower}}", "x-sha256:abc"),
        ("{{if and (eq .Size 7834567) (not .Hidden)}}yes{{end}}", "yes"),
        ("{{print nil}}", "<nil>"),
    ] {
        assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (template, place, what) in [
        ("{{.Id", "column 1", "}}"),
        ("{{", "column 1", "}}"),
        ("x {{.Ids}}", "column 5", ".Ids; did you mean .Id?"),
        ("{{.Config.Nope}}", "column 10", ".Nope"),
        ("{{.Id.More}}", "column 6", "a string"),
        ("{{.None.More}}", "column 8", "nil"),
        ("a\nb {{.X}}", "line 2, column 5", ".X"),
        ("{{}}", "column 3", "missing"),
        ("{{.Id | }}", "column 9", "missing"),
        ("{{.Id | .Size}}", "column 9", "takes no value"),
        ("{{.Id | 3}}", "column 9", "function"),
        ("{{nope .Id}}", "column 3", "no function nope"),
        ("{{jsom .}}", "column 3", "did you mean json?"),
        ("{{if .Id}}x", "column 3", "{{end}}"),
        ("{{end}}", "column 3", "ends nothing"),
        ("{{else}}", "column 3", "belongs to no"),
        ("{{if .Id}}{{else}}{{else}}{{end}}", "column 21", "second else"),
        ("{{if .Id}}{{else range .Tags}}{{end}}", "column 18", "else range"),
        ("{{if}}{{end}}", "column 5", "missing"),
        ("{{break}}", "column 3", "in no range"),
        ("{{template \"x\"}}", "column 3", "not supported"),
        ("{{$x}}", "column 3", "no variable $x"),
        ("{{if $x := 1}}{{end}}{{$x}}", "column 24", "no variable $x"),
        ("{{$x = 1}}", "column 3", "no variable $x"),
        ("{{\"abc}}", "column 3", "no end"),
        ("{{`abc}}", "column 3", "no end"),
        ("{{\"\\z\"}}", "column 4", "escape"),
        ("{{'ab'}}", "column 3", "one character"),
        ("{{(.Id}}", "column 3", "not closed"),
        ("{{.Id)}}", "column 6", "not opened"),
        ("{{/* x}}", "column 1", "no end"),
        ("{{/* x */ .Id}}", "column 10", "nothing between"),
        ("{{.Id\"x\"}}", "column 6", "blank"),
        ("{{1 2}}", "column 5", "function"),
        ("{{99999999999999999999}}", "column 3", "no number"),
        ("{{1.2.3}}", "column 3", "no number"),
        ("{{#}}", "column 3", "'#'"),
        ("{{len 3}}", "column 3", "int has no length"),
        ("{{index .Config.Env 7}}", "column 3", "no number 7"),
        ("{{index .Config.Env -1}}", "column 3", "no number -1"),
        ("{{index .Config.Env \"a\"}}", "column 3", "no number"),
        ("{{slice .Id 5 2}}", "column 3", "behind"),
        ("{{upper .Size}}", "column 3", "not a string"),
        ("{{upper}}", "column 3", "needs 1 value"),
        ("{{lt 1 \"a\"}}", "column 3", "compared"),
        ("{{eq 1}}", "column 3", "needs 2"),
        ("{{range .Id}}{{end}}", "column 9", "a string"),
        ("{{.Id \"x\"}}", "column 3", "takes no value"),
        ("{{range $a, $b, $c := .Tags}}{{end}}", "column 13", "too many"),
        ("{{and}}", "column 3", "needs a value"),
        ("{{range 100000}}{{range 100000}}{{end}}{{end}}", "column 25", "end"),
        ("{{range 100000000}}{{pad \"x\" 10000 10000}}{{end}}", "column", "end"),
    ] {
        let error = rendered(template).expect_err(template);
        assert!(error.contains(place) && error.contains(what), "{template}: {error}");
    }
}

#[test]
fn nesting_is_bounded_and_nothing_panics() {
    for deep in ["{{if 1}}", "{{range 1}}", "{{with 1}}", "{{if 1}}x{{else if 1}}"] {
        assert!(rendered(&deep.repeat(100_000)).is_err(), "{deep}");
    }
    assert!(rendered(&format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000))).is_err());
    assert!(rendered(&format!("{{{{.Id{}}}}}", " | upper".repeat(10_000))).is_ok());
    assert!(rendered(&format!("{{{{.Extra{}}}}}", ".a".repeat(100_000))).is_err());
    // Every beginning, and every text with a piece taken out, is a template or an error.
    let all = "a{{- /* c */ -}} {{$x := index .Config.Labels `a`}}{{range $i, $e := .Config.Env}}{{printf \"%0*[1]d %.99999999f\" $i 1.5 | upper}}é{{else}}{{end}}";
    let ends: Vec<usize> = (0..=all.len()).filter(|n| all.is_char_boundary(*n)).collect();
    for &from in &ends {
        let _ = rendered(&all[..from]);
        for to in ends.iter().filter(|to| **to > from) {
            let _ = rendered(&format!("{}{}", &all[..from], &all[*to..]));
        }
    }
}

/// Docker's own client applies templates without its daemon: what needs no data is held against it.
#[test]
fn docker_writes_the_same() {
    let templates = [
        r#"{{println "a" 1 2 "b" "c" true}}{{print 1 2 "a" "b" 3 nil true 4.5 5}}"#,
        r#"{{printf "%-12s|%12s|%05d|%+d|% d|%x|%X|%#x|%.2f|%8.3f|%08.3f|%-8.1f|%5t|%%" "x" "y" 42 42 5 255 255 255 1.005 2.5 3.14159 1.25 true}}"#,
        r#"{{printf "%d %s %v %d" "id" 7 nil 1.5}}|{{printf "%d"}}|{{printf "x" 1 "a"}}|{{printf "%"}}|{{printf "%z" 1}}|{{printf "%!"}}"#,
        r#"{{printf "%e|%.2e|%g|%v|%T|%T|%c|%q|%q|%x|%X|%.2s|%5.1s|" 12345.678 0.00012 1e6 1e-7 "x" 1 65 65 "a\n\"é" "hi" "hi" "hello" "hello"}}"#,
        r#"{{printf "%*d|%-*d|" 5 42 5 42}}{{printf "%b|%o|%6.2f" 5 8 2.5}}"#,
        r#"{{1_000}} {{0x1F}} {{0b11}} {{0o17}} {{1.50}} {{1e3}} {{-2}} {{'a'}} {{'\n'}} {{true}} {{1e21}} {{1e20}} {{1e-5}} {{.5}} {{+3}}"#,
        r#"{{title "hello wORLD a-b_c.d é"}}|{{upper "é"}}|[{{pad "x" 1 2}}]|[{{pad "" 1 2}}]|{{truncate "abc" 2}}|{{truncate "abc" 9}}"#,
        r#"{{split "a,b" ","}}|{{split "abc" ""}}|{{join (split "a,b" ",") "-"}}|{{json (split "a<b>&,b" ",")}}|{{len (split "a,b" ",")}}"#,
        r#"{{printf "%q %s %v %d" (split "a,b" ",") (split "a,b" ",") (split "a,b" ",") (split "a,b" ",")}}"#,
        r#"{{and "" 3}}|{{and 1 2}}|{{or "" 0}}|{{or 0 "x"}}|{{not 0}}|{{and 1 0 (index 1 2)}}|{{3 | and 1}}|{{3 | or 0}}"#,
        r#"{{eq 1 2 1}} {{ne "a" "b"}} {{lt 1 2}} {{le 2 2}} {{gt "b" "a"}} {{ge 1.5 2.5}} {{eq true false}} {{eq nil nil}}"#,
        r#"{{range $i, $e := split "a b" " "}}{{$i}}{{$e}}{{else}}x{{end}}|{{range split "a b" " "}}{{if eq . "a"}}{{continue}}{{end}}{{.}}{{break}}{{end}}"#,
        r#"{{range 3}}{{.}}{{end}}|{{$x := 1}}{{range $x = 3}}{{$x}}{{end}}{{$x}}|{{range $i := 3}}{{$i}}{{end}}"#,
        r#"{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}{{with $y := 5}}{{$y}}{{.}}{{$x = .}}{{end}}{{$x}}"#,
        r#"{{if 0}}a{{else if ""}}b{{else}}c{{end}}{{with ""}}x{{else with "y"}}{{.}}{{end}}"#,
        r#"a {{- 3 -}} b {{/* c */}} d {{- /* e */ -}} f {{`raw \n`}} {{"\t\"\u00e9\x41\101\\"}} }} { {{"{{"}}"#,
        r#"{{slice "abcdef" 1 3}} {{slice "abc" 1}} {{index (split "a:b" ":") 1}} {{index "abc" 1}} {{len "é"}}"#,
        r#"{{"a" | printf "%s-%s" "b" | upper}} {{(split "a b" " ") | json}} {{print (print 1 2) 3}} {{(1)}}"#,
    ];
    let template = templates.join("\n\n");
    let output =
        std::process::Command::new("docker").args(["context", "inspect", "--format", &template, "default"]).output();
    let Ok(output) = output.as_ref().map(|output| String::from_utf8_lossy(&output.stdout)) else {
        return eprintln!("docker_writes_the_same is skipped: docker's client is not installed");
    };
    let theirs: Vec<&str> = output.trim_end().split("\n\n").collect();
    assert_eq!(theirs.len(), templates.len(), "{output}");
    let ours = rendered(&template).unwrap();
    for ((template, ours), theirs) in templates.iter().zip(ours.trim_end().split("\n\n")).zip(theirs) {
        assert_eq!(ours, theirs, "{template}");
    }
}

#[test]
fn json_over_many_lines() {
    let data =
        Data::row().with("A", "x").with("B", Data::List(vec![])).with("C", Data::List(vec![Data::row().with("D", 1)]));
    let expected =
        "{\n    \"A\": \"x\",\n    \"B\": [],\n    \"C\": [\n        {\n            \"D\": 1\n        }\n    ]\n}";
    assert_eq!(data.pretty_json(), expected);
}

#[test]
fn backslashes_are_read_outside_of_actions() {
    for (backslashes, expected) in [(Backslashes::Kept, "a\\tb\\n"), (Backslashes::Read, "a\tb\n")] {
        let template = Template::parse("{{`a`}}\\t{{`b\\n`}}", backslashes).unwrap();
        let expected = expected.replace('\n', "\\n");
        assert_eq!(template.render(&Data::Null).unwrap(), expected);
    }
}
