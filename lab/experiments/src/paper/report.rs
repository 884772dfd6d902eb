//! The report: one HTML file that needs nothing else, opens anywhere and prints well.

use super::chart::escape;
use super::claims::{Claim, Found};
use std::fmt::Write as _;

const STYLE: &str = "body{font:16px/1.5 Georgia,'Times New Roman',serif;color:#1c222b;background:#fff;max-width:62rem;\
margin:2rem auto;padding:0 1rem}h1,h2,th,figcaption,caption,summary,.tag{font-family:system-ui,sans-serif}h1{font-size:1.7rem}\
h2{font-size:1.2rem;margin-top:2.4rem;border-top:1px solid #d9dee6;padding-top:1rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.8rem;line-height:1.35;font-variant-numeric:tabular-nums;margin:.6rem 0}\
caption{text-align:left;font-weight:600;font-size:.9rem;padding:.4rem 0}\
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #eceff3}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(28rem,1fr));gap:.5rem 1.5rem}\
figure{margin:.8rem 0;break-inside:avoid}figcaption{font-weight:600;font-size:.9rem}svg{width:100%;height:auto;max-width:46rem}\
code,pre{font:.8rem ui-monospace,monospace}pre{white-space:pre-wrap;background:#f6f7f9;padding:.6rem}\
summary{cursor:pointer;font-size:.9rem;margin:.4rem 0}.quiet{color:#5b6675}.tag{font-size:.8rem;color:#5b6675}\
@media print{body{margin:0;max-width:none;font-size:10.5pt}h2,caption,figcaption{break-after:avoid}tr{break-inside:avoid}\
.charts{grid-template-columns:1fr 1fr}.wide{overflow:visible}table{font-size:7.5pt}td,th{padding-right:.5rem}a{color:inherit;\
text-decoration:none}pre{font-size:7.5pt}}";

/// Tables of more rows are folded away until somebody opens them.
const ROWS_SHOWN: usize = 40;
/// The same for lines of a configuration.
const LINES_SHOWN: usize = 12;

/// The report of sections that are there, and of those that are not yet.
pub fn report(sections: &[(&Claim, Option<String>)], about: &str) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>nom: the paper, run again</title><style>{STYLE}</style></head><body>\n\
         <h1>The nom paper, run again</h1>\n<p class=\"quiet\">{}</p>\n<ul>\n",
        escape(about)
    );
    for (claim, section) in sections {
        let state = match section {
            None => "not yet",
            Some(section) if section.contains(ABSENT) => "not measured",
            Some(_) if claim.virtual_time => "virtual time",
            Some(_) => "measured",
        };
        let _ = writeln!(
            out,
            "<li><a href=\"#{}\">{}</a> <span class=\"tag\">{state}</span></li>",
            claim.name,
            escape(claim.title)
        );
    }
    out.push_str("</ul>\n");
    for (claim, text) in sections {
        match text {
            Some(text) => out.push_str(text),
            None => {
                let why = "the run has not come this far; `nom bench paper --resume` goes on";
                out.push_str(&section(claim, Err(why)));
            }
        }
    }
    out.push_str("</body></html>\n");
    out
}

/// What a section begins with that has nothing to tell.
const ABSENT: &str = "<b>Not measured:</b>";

/// The section of a claim, or why there is nothing to tell.
pub fn section(claim: &Claim, found: Result<&Found, &str>) -> String {
    let kind = if claim.virtual_time {
        "virtual time: the same figures each time"
    } else {
        "measured on this machine"
    };
    let mut out = format!(
        "<h2 id=\"{0}\">{1}</h2>\n<p class=\"quiet\"><code>nom bench paper --claim {0}</code> ({kind})</p>\n",
        claim.name,
        escape(claim.title)
    );
    match found {
        Err(why) => drop(writeln!(out, "<p>{ABSENT} {}</p>", escape(why))),
        Ok(found) => body(&mut out, claim, found),
    }
    out
}

fn body(out: &mut String, claim: &Claim, found: &Found) {
    let _ = writeln!(
        out,
        "<p><b>The paper found:</b> {}</p>\n<p><b>We found:</b> {}</p>\n<p><b>Why they differ:</b> {}</p>",
        escape(claim.paper),
        escape(&found.ours),
        escape(claim.why)
    );
    out.push_str("<div class=\"charts\">\n");
    for chart in &found.charts {
        let _ =
            writeln!(out, "<figure><figcaption>{}</figcaption>{}</figure>", escape(&chart.title), chart.svg);
    }
    out.push_str("</div>\n");
    table(out, "", &found.rows);
    for (caption, rows) in &found.tables {
        match rows.len() > ROWS_SHOWN {
            true => {
                let _ = writeln!(
                    out,
                    "<details><summary>{} ({} rows)</summary>",
                    escape(caption),
                    rows.len() - 1
                );
                table(out, "", rows);
                out.push_str("</details>\n");
            }
            false => table(out, caption, rows),
        }
    }
    let open = if found.configuration.lines().count() > LINES_SHOWN { "" } else { " open" };
    let _ = writeln!(
        out,
        "<details{open}><summary>Configuration</summary><pre>{}</pre></details>",
        escape(&found.configuration)
    );
}

/// A table whose first row holds names.
fn table(out: &mut String, caption: &str, rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    out.push_str("<div class=\"wide\"><table>\n");
    if !caption.is_empty() {
        let _ = writeln!(out, "<caption>{}</caption>", escape(caption));
    }
    for (number, row) in rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", together(cell))).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    out.push_str("</table></div>\n");
}

/// A figure and its unit stay on one line.
fn together(cell: &str) -> String {
    [" $", " us", " ms", " an operation"]
        .iter()
        .fold(escape(cell), |cell, unit| cell.replace(unit, &unit.replace(' ', "\u{a0}")))
}
