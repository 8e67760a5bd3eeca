//! Cases as a JUnit XML file, which CI services read.

use super::clean;
use quick_xml::Writer;
use quick_xml::events::BytesText;
use std::io;
use std::time::Duration;

/// A suite.
pub struct Suite<'a> {
    /// Its name.
    pub name: &'a str,
    /// The file it stands in.
    pub file: &'a str,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// A case.
pub struct Case {
    /// Its name.
    pub name: String,
    /// The line it stands at.
    pub line: u32,
    /// How long it took.
    pub took: Duration,
    /// What differs, a line each; none: it passed.
    pub failures: Vec<String>,
}

/// The file's content.
///
/// # Errors
/// Never, in memory.
pub fn junit(suite: &Suite<'_>) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_vec(), b' ', 2);
    let failed = suite.cases.iter().filter(|c| !c.failures.is_empty()).count().to_string();
    let total = suite.cases.len().to_string();
    let time = seconds(suite.cases.iter().map(|c| c.took).sum());
    let counts = [("tests", total.as_str()), ("failures", failed.as_str()), ("errors", "0"), ("time", time.as_str())];
    writer.create_element("testsuites").with_attributes(counts).write_inner_content(|writer| {
        let about = [("name", suite.name), ("file", suite.file)];
        let element = writer.create_element("testsuite").with_attributes(about.into_iter().chain(counts));
        element.write_inner_content(|writer| suite.cases.iter().try_for_each(|one| case(writer, suite, one)))?;
        Ok(())
    })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn case(writer: &mut Writer<Vec<u8>>, suite: &Suite<'_>, case: &Case) -> io::Result<()> {
    let (name, line, time) = (clean(&case.name), case.line.to_string(), seconds(case.took));
    let about = [("name", name.as_str()), ("classname", suite.name), ("file", suite.file), ("line", &line), ("time", &time)];
    let element = writer.create_element("testcase").with_attributes(about);
    if case.failures.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    element.write_inner_content(|writer| {
        let lines: Vec<String> = case.failures.iter().map(|f| clean(f)).collect();
        let message = lines.first().map_or("", String::as_str);
        let failure = writer.create_element("failure").with_attributes([("message", message), ("type", "expectation")]);
        failure.write_text_content(BytesText::new(&lines.join("\n")))?;
        Ok(())
    })?;
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_says_is_text_and_never_markup() {
        let case = |name: &str, failures: &[&str]| Case {
            name: name.into(),
            line: 3,
            took: Duration::from_millis(1500),
            failures: failures.iter().map(|f| (*f).to_owned()).collect(),
        };
        let cases = vec![case("fine", &[]), case("a \"b\" <c> & \u{1b}[31md", &["status: expected <x>", "and & more"])];
        let text = String::from_utf8(junit(&Suite { name: "t", file: "t.test.yaml", cases }).unwrap()).unwrap();
        assert!(
            text.starts_with(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"2\" failures=\"1\" errors=\"0\" time=\"3.000\">"
            ),
            "{text}"
        );
        assert!(text.contains("name=\"a &quot;b&quot; &lt;c&gt; &amp; "), "{text}");
        assert!(text.contains(">status: expected &lt;x&gt;\nand &amp; more</failure>"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
