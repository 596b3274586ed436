//! Values as people would enter them, chosen by what a field is called. A mark, where one is to be carried, becomes a part
//! of the value.

/// First names.
const FIRST: [&str; 16] = [
    "Ana", "Bela", "Chidi", "Dilek", "Elena", "Farid", "Greta", "Hiro", "Ines", "Jamal", "Katya", "Luis", "Mei",
    "Noor", "Olga", "Pavel",
];

/// Family names.
const LAST: [&str; 16] = [
    "Okafor",
    "Novak",
    "Haddad",
    "Lindqvist",
    "Moreau",
    "Tanaka",
    "Silva",
    "Kowalski",
    "Yilmaz",
    "Nguyen",
    "Fischer",
    "Rossi",
    "Mensah",
    "Dubois",
    "Ivanova",
    "Castillo",
];

const CITIES: [&str; 12] = [
    "Lisbon",
    "Osaka",
    "Accra",
    "Gdansk",
    "Porto Alegre",
    "Izmir",
    "Hanoi",
    "Lyon",
    "Tromso",
    "Cordoba",
    "Leeds",
    "Tunis",
];

const COUNTRIES: [&str; 10] =
    ["Portugal", "Japan", "Ghana", "Poland", "Brazil", "Turkey", "Vietnam", "France", "Norway", "Tunisia"];

const STREETS: [&str; 8] = [
    "Harbour Road",
    "Mill Lane",
    "Station Street",
    "Orchard Way",
    "Quarry Hill",
    "Church Walk",
    "Canal Side",
    "Elm Row",
];

const THINGS: [&str; 14] = [
    "pump",
    "boiler",
    "switchboard",
    "lift door",
    "ventilation",
    "router",
    "card reader",
    "freezer",
    "water meter",
    "conveyor",
    "heat exchanger",
    "fire alarm",
    "pressure valve",
    "printer",
];

const TROUBLES: [&str; 10] = [
    "makes a noise",
    "leaks",
    "does not start",
    "shows an error",
    "needs a spare part",
    "was replaced",
    "is due for service",
    "runs hot",
    "was checked",
    "lost its settings",
];

const COMPANIES: [&str; 8] = [
    "Northwind Dairy",
    "Baltic Freight",
    "Casa Verde",
    "Orion Labs",
    "Delta Mills",
    "Sahel Solar",
    "Kite Media",
    "Fjord Fish",
];

/// What a field holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Email,
    Phone,
    Url,
    First,
    Last,
    Person,
    Company,
    City,
    Country,
    Street,
    Postcode,
    Note,
    Title,
    Code,
    Other,
}

/// Words of field names with what such a field holds; the first that is in the name decides.
const SORTS: [(&str, Sort); 33] = [
    ("email", Sort::Email),
    ("mail", Sort::Email),
    ("phone", Sort::Phone),
    ("mobile", Sort::Phone),
    ("fax", Sort::Phone),
    ("url", Sort::Url),
    ("website", Sort::Url),
    ("link", Sort::Url),
    ("firstname", Sort::First),
    ("givenname", Sort::First),
    ("lastname", Sort::Last),
    ("surname", Sort::Last),
    ("familyname", Sort::Last),
    ("company", Sort::Company),
    ("customer", Sort::Company),
    ("city", Sort::City),
    ("town", Sort::City),
    ("country", Sort::Country),
    ("street", Sort::Street),
    ("address", Sort::Street),
    ("postal", Sort::Postcode),
    ("postcode", Sort::Postcode),
    ("zip", Sort::Postcode),
    ("note", Sort::Note),
    ("comment", Sort::Note),
    ("description", Sort::Note),
    ("text", Sort::Note),
    ("body", Sort::Note),
    ("title", Sort::Title),
    ("subject", Sort::Title),
    ("summary", Sort::Title),
    ("code", Sort::Code),
    ("name", Sort::Person),
];

fn sort(field: &str) -> Sort {
    let plain: String = field.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    SORTS.iter().find(|(word, _)| plain.contains(word)).map_or(Sort::Other, |(_, sort)| *sort)
}

/// A text for a field of this name, with the mark in it; the mark alone where more does not fit. `chance` decides which.
pub(super) fn text(field: &str, chance: u64, mark: &str, most: Option<u32>) -> String {
    let pick = |list: &[&'static str], place: u32| list[(chance >> (place * 8)) as usize % list.len()];
    let (first, last) = (pick(&FIRST, 0), pick(&LAST, 1));
    let number = chance % 900 + 100;
    let full = match sort(field) {
        Sort::Email => format!("{}.{}+{mark}@example.com", first.to_lowercase(), last.to_lowercase()),
        Sort::Phone => format!("+1 555 0{number} {mark}"),
        Sort::Url => format!("https://example.com/{}/{mark}", last.to_lowercase()),
        Sort::First => format!("{first} {mark}"),
        Sort::Last => format!("{last} {mark}"),
        Sort::Person => format!("{first} {last} {mark}"),
        Sort::Company => format!("{} {mark}", pick(&COMPANIES, 2)),
        Sort::City => format!("{} {mark}", pick(&CITIES, 2)),
        Sort::Country => format!("{} {mark}", pick(&COUNTRIES, 2)),
        Sort::Street => format!("{number} {} {mark}", pick(&STREETS, 2)),
        Sort::Postcode | Sort::Code | Sort::Other => mark.to_owned(),
        Sort::Note => format!("{} says the {} {}. {mark}", first, pick(&THINGS, 2), pick(&TROUBLES, 3)),
        Sort::Title => format!("The {} {} {mark}", pick(&THINGS, 2), pick(&TROUBLES, 3)),
    };
    let fits = |text: &str| most.is_none_or(|most| text.chars().count() <= most as usize);
    match fits(&full) {
        true => full,
        false => mark.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_looks_like_its_field_and_carries_its_mark() {
        let mail = text("BillingEmail", 7, "om12x3", None);
        assert!(mail.contains("+om12x3@example.com"), "{mail}");
        assert!(text("first_name", 1, "om12x3", None).ends_with(" om12x3"));
        assert!(text("FirstName", 1, "om12x3", None).starts_with("Bela "));
        assert_eq!(text("Description", 1, "om12x3", Some(12)), "om12x3");
        assert_eq!(text("sku", 1, "om12x3", None), "om12x3");
    }

    #[test]
    fn every_chance_gives_some_text() {
        for chance in [0, 1, u64::MAX, 0x00ff_00ff] {
            for (word, _) in SORTS {
                assert!(text(word, chance, "m", None).contains('m'));
            }
        }
    }
}
