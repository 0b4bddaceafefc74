//! The pages for a browser, as text. `tests/browser.py` opens them in one.

use crate::world::{CAT, CAT_BYTES, LABELS, MODEL, TREE, TREE_BYTES, TRUNCATED};
use crate::world::{classify, clipclass, refusal, stdout_of, tar_of};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[test]
fn a_page_has_a_card_for_each_image() {
    let page = stdout_of(&classify(&["--format", "html", TREE, CAT, TRUNCATED]), 1);
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(page.ends_with("</section>\n</main></body></html>\n"), "{page}");
    assert_eq!(page.matches("<article ").count(), 3);
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 2);
    assert!(page.contains("<p class=\"prediction\">a tree</p>"), "{page}");
    // One element has both what marks it and the length of its bar.
    assert!(page.contains(" given\"><b>0."), "{page}");
    assert!(page.contains("failed (decode): "), "{page}");
}

#[test]
fn pictures_are_as_small_as_asked_for() {
    let page = |px| stdout_of(&classify(&["--format", "html", "--thumbnails", px, TREE]), 0);
    assert!(page("32").contains("width=\"32\""));
    assert!(!page("0").contains("<img"));
    assert!(page("16").len() < page("64").len());
}

#[test]
fn nothing_is_fetched_and_only_the_page_s_own_script_may_run() {
    assert_asks_nothing(&stdout_of(&classify(&["--format", "html", TREE]), 0));
}

#[track_caller]
fn assert_asks_nothing(page: &str) {
    assert!(
        page.contains("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; ")
    );
    assert_eq!(page.matches("<script>").count(), 1, "{page}");
    // The name of SVG is no address.
    let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for address in ["http:", "https:", "src=\"//", "@import", "url(", " style=", "<link", "<iframe"] {
        assert!(!page.contains(address), "{address}");
    }
}

#[test]
fn names_and_labels_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let name = "\"><script>alert(1)<script> & \u{202e}gpj.png";
    std::fs::copy(CAT, folder.path().join(name)).unwrap();
    let labels = "<script>alert(2)</script>,a \"cat\" & more";
    let mut command = clipclass();
    command.args(["--model", MODEL, "--labels", labels, "--format", "html"]).arg(folder.path());
    let page = stdout_of(&command.output().unwrap(), 0);
    assert_eq!(page.matches("<script>").count(), 1, "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;script&gt; &amp; "), "{page}");
    assert!(page.contains("&lt;script&gt;alert(2)&lt;/script&gt;"), "{page}");
    assert!(page.contains("a &quot;cat&quot; &amp; more"), "{page}");
}

#[test]
fn of_many_labels_a_card_has_the_best() {
    let labels = format!("{LABELS},a,b,c,d,e,f");
    let rows = |arguments: &[&str]| {
        let mut command = clipclass();
        command.args(["--model", MODEL, "--labels", &labels, "--format", "html", TREE]).args(arguments);
        stdout_of(&command.output().unwrap(), 0).matches("<li").count()
    };
    assert_eq!((rows(&[]), rows(&["--top", "7"])), (5, 7));
}

/// A shard of images, each with the text beside it that says what it shows.
struct Shard {
    _folder: TempDir,
    path: PathBuf,
}

fn shard(members: &[(&str, &[u8], &str)]) -> Shard {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.tar");
    let texts: Vec<_> = members
        .iter()
        .map(|(name, _, truth)| (Path::new(name).with_extension("txt").to_str().unwrap().to_owned(), truth))
        .collect();
    let files = members
        .iter()
        .zip(&texts)
        .flat_map(|((name, bytes, _), (text, truth))| [(*name, *bytes), (text.as_str(), truth.as_bytes())]);
    fs::write(&path, tar_of(files)).unwrap();
    Shard { _folder: folder, path }
}

fn eval(shard: &Shard, labels: &str, more: &[&str], code: i32) -> String {
    let mut command = clipclass();
    command.arg("eval").arg(&shard.path).args(["-m", MODEL, "-l", labels]).args(more);
    stdout_of(&command.output().unwrap(), code)
}

/// The element that has the number of a figure.
fn figure<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<data id=\"{id}\"")).unwrap_or_else(|| panic!("no figure {id}: {page}"));
    page[start..].split('>').next().unwrap()
}

/// Whether a number stands in a part of a page, in full; serde_json may read the last digit otherwise.
fn has_number(page: &str, number: &Value) -> bool {
    let number = number.as_f64().unwrap();
    let mut all = page.split("value=\"").filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
    all.any(|other| (other - number).abs() <= 1e-12)
}

/// What stands in a section of a page.
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<h2 id=\"{id}\">")).unwrap_or_else(|| panic!("no section {id}: {page}"));
    let rest = &page[start + 1..];
    &rest[..rest.find("<h2 ").unwrap_or(rest.len())]
}

const MISTAKEN: &[(&str, &[u8], &str)] = &[
    ("1.jpg", TREE_BYTES, "a tree"),
    ("2.png", CAT_BYTES, "a cat"),
    ("3.jpg", TREE_BYTES, "a cat"),
    ("4.jpg", TREE_BYTES, "none"),
    ("5.png", CAT_BYTES, "a zebra"),
    ("6.jpg", b"no picture", "a cat"),
];

#[test]
fn a_page_of_an_evaluation_has_the_figures_that_json_has() {
    let shard = shard(MISTAKEN);
    let labels = "a cat,a dog,a car,a tree,a person,a boat";
    let templates = ["-t", "a photo of {}", "-t", "{}"];
    let json: Value =
        serde_json::from_str(&eval(&shard, labels, &[&templates[..], &["--json"]].concat(), 1)).unwrap();
    let page = eval(&shard, labels, &[&templates[..], &["--format", "html"]].concat(), 1);
    assert_asks_nothing(&page);
    for key in
        ["images", "failed", "accuracy", "top5", "balanced_accuracy", "macro_f1", "ece", "brier", "log_loss"]
    {
        assert!(has_number(figure(&page, key), &json[key]), "{key}: {}", figure(&page, key));
    }
    assert!(page.contains("2 of 4, 95 % interval 15.00 to 85.00 %"), "{page}");
    assert!(page.contains("a zebra 1"), "{page}");
    assert!(section(&page, "classes").contains("<data class=\"bar w"), "{page}");
    for (i, class) in json["classes"].as_array().unwrap().iter().enumerate() {
        let rows = section(&page, "classes");
        let row = rows
            .split("<tr>")
            .find(|row| row.starts_with(&format!("<td>{}</td>", class["label"].as_str().unwrap())));
        let row = row.unwrap_or_else(|| panic!("class {i} is not among {rows}"));
        for key in ["precision", "recall", "f1", "support"] {
            assert!(has_number(row, &class[key]), "{key}: {row}");
        }
    }
    // All that is not on the diagonal is a mistake, in the drawing, the table and among the pictures.
    let confusion = section(&page, "confusion");
    assert_eq!(confusion.matches("<svg ").count(), 1);
    assert!(
        confusion.contains("<td>none</td><td>a tree</td><td class=\"number\"><data value=\"1\">1"),
        "{confusion}"
    );
    let calibration = section(&page, "calibration");
    assert_eq!(calibration.matches("<svg ").count(), 1);
    for bin in json["calibration"].as_array().unwrap().iter().filter(|bin| bin["images"] != 0) {
        for key in ["images", "probability", "accuracy"] {
            assert!(has_number(calibration, &bin[key]), "{key}: {bin}");
        }
    }
    for template in json["templates"].as_array().unwrap() {
        let row = format!("<td>{}</td>", template["template"].as_str().unwrap());
        assert!(section(&page, "templates").contains(&row), "{row}");
    }
    assert!(section(&page, "labels").contains("<li>a boat</li>"));
    let mistakes = section(&page, "mistakes");
    assert_eq!(mistakes.matches("<article ").count(), json["mistakes"].as_array().unwrap().len());
    assert_eq!(mistakes.matches("src=\"data:image/jpeg;base64,").count(), 2);
    assert!(section(&page, "failed-images").contains("6.jpg"));
    assert!(!page.contains("<h2 id=\"fit\">"));
}

#[test]
fn a_page_of_images_of_several_labels_has_no_matrix_and_its_own_figures() {
    let shard = shard(&[("1.jpg", TREE_BYTES, "a tree|a car"), ("2.png", CAT_BYTES, "a cat")]);
    let arguments = ["--multi", "--min-cosine", "-1"];
    let json: Value =
        serde_json::from_str(&eval(&shard, LABELS, &[&arguments[..], &["--json"]].concat(), 0)).unwrap();
    let page = eval(&shard, LABELS, &[&arguments[..], &["--format", "html"]].concat(), 0);
    for key in ["accuracy", "mean_average_precision", "macro_f1", "micro_f1"] {
        assert!(has_number(figure(&page, key), &json[key]), "{key}: {}", figure(&page, key));
    }
    assert!(page.contains("all labels right") && page.contains("--multi"), "{page}");
    assert!(!page.contains("<h2 id=\"confusion\">"));
    assert!(page.contains("<bdi>a car|a tree</bdi>"), "{page}");
}

#[test]
fn pictures_of_mistakes_are_as_small_as_asked_for() {
    let shard = shard(MISTAKEN);
    let page = |px| eval(&shard, LABELS, &["--format", "html", "--thumbnails", px], 1);
    assert!(page("32").contains("width=\"32\""));
    assert!(!page("0").contains("<img"));
}

#[test]
fn of_very_many_classes_those_are_drawn_that_are_confused() {
    let labels: Vec<_> =
        (0..60).map(|i| format!("a thing {i}")).chain(["a tree".into(), "a cat".into()]).collect();
    let shard = shard(MISTAKEN);
    let page = eval(&shard, &labels.join(","), &["--format", "html"], 1);
    let confusion = section(&page, "confusion");
    assert!(confusion.contains("The 3 of 63 classes that are confused most often."), "{confusion}");
    assert!(confusion.contains("the other 60") && !confusion.contains("a thing 7"), "{confusion}");
    assert_eq!(section(&page, "classes").matches("<tr>").count(), 1 + 63);
}

#[test]
fn names_and_labels_of_an_evaluation_stay_text() {
    let name = "\"><script>alert(1)<script> & \u{202e}gpj.png";
    let label = "<script>alert(2)</script> & \u{202e}\"dog\"";
    let shard =
        shard(&[(name, TREE_BYTES, label), ("2.jpg", TREE_BYTES, "a tree"), ("3.jpg", b"<b>", "a tree")]);
    let labels = serde_json::to_string(&["a tree", label]).unwrap();
    let page = eval(&shard, &labels, &["--format", "html", "-t", "<i>{}", "-t", "{}"], 1);
    assert_asks_nothing(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;script&gt; &amp; "), "{page}");
    // In the drawing, which another crate writes, as well.
    let drawing = section(&page, "confusion").split("</svg>").next().unwrap();
    assert!(drawing.contains("&lt;script&gt;alert(2)&lt;"), "{drawing}");
    assert!(!page.contains("<i>") && !page.contains("<b>no") && page.contains("&lt;i&gt;{}"), "{page}");
}

#[test]
fn what_was_fitted_is_on_the_page() {
    let members: Vec<_> = (0..40)
        .map(|i| {
            if i % 2 == 0 {
                (format!("{i}.jpg"), TREE_BYTES, "a tree")
            } else {
                (format!("{i}.png"), CAT_BYTES, "a cat")
            }
        })
        .collect();
    let members: Vec<_> =
        members.iter().map(|(name, bytes, truth)| (name.as_str(), *bytes, *truth)).collect();
    let shard = shard(&members);
    let file = shard.path.with_file_name("fit.json");
    let page = shard.path.with_file_name("page.html");
    let arguments = [
        "--format",
        "html",
        "--fit",
        file.to_str().unwrap(),
        "--coverage",
        "0.8",
        "-o",
        page.to_str().unwrap(),
    ];
    assert_eq!(eval(&shard, "a cat,a tree", &arguments, 0), "");
    let page = fs::read_to_string(page).unwrap();
    let fitted: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert!(page.contains("fit.json"), "{page}");
    let told = section(&page, "fit");
    for value in [
        &fitted["fitted"]["temperature"]["log_loss_before"],
        &fitted["fitted"]["temperature"]["temperature"],
        &fitted["fitted"]["prediction_sets"]["covered"],
        &fitted["fitted"]["images"],
    ] {
        assert!(has_number(told, value), "{value}: {told}");
    }
    assert!(section(&page, "classes").contains("fitted threshold of "), "{page}");
    assert!(page.contains("No image was taken for another class."), "{page}");
}

#[test]
fn a_page_is_not_written_over_what_is_read() {
    let shard = shard(MISTAKEN);
    let truth = shard.path.with_file_name("truth.csv");
    fs::write(&truth, "image,label\n1.jpg,a tree\n").unwrap();
    let path = truth.to_str().unwrap();
    let mut command = clipclass();
    command.arg("eval").arg(&shard.path).args(["-m", MODEL, "-l", LABELS, "--format", "html"]);
    let told = refusal(&command.args(["--truth", path, "-o", path]).output().unwrap());
    assert!(told.contains("both read and the output"), "{told}");
}
