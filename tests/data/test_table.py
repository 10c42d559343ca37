"""Tables as people have them: text, holes, dates, flags; what each column holds is found, shown and kept."""

import gc
import gzip
import pickle

import numpy as np
import pytest
import torch

from aepretrain import ConfigError, DataError, Mixed, SwapNoise, Table
from aepretrain.cli.first_look import look_at
from aepretrain.data.columns import Column
from aepretrain.data.rows import Rows

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

N = 90
K = np.arange(N)
COLUMNS = {
    "mass": [f"{k * 0.5:.1f}" for k in K],
    "island": [("Biscoe", "Dream", " Dream ")[k % 3] if k % 10 else "NA" for k in K],
    "fed": ["true" if k % 4 else "FALSE" for k in K],
    "ringed": ["" if k == 7 else str(k % 2) for k in K],
    "seen": [f"2026-01-{1 + k % 28:02d}" if k != 9 else "?" for k in K],
    "kind": [("owl", "rook", "swan")[k % 3] for k in K],
}
SIZES = {"validation": 15, "test": 15}


def write_csv(path, columns=COLUMNS, separator=",", opener=open):
    lines = [separator.join(columns), *(separator.join(row) for row in zip(*columns.values(), strict=True))]
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


def changed(**columns):
    return COLUMNS | {name: [str(value) for value in values] for name, values in columns.items()}


def read(path, target="kind", **settings):
    cache = None if not hasattr(path, "parent") else path.parent / "cache"
    return Table(path, target, **{"cache": cache, **SIZES, **settings})


@pytest.fixture
def csv(tmp_path):
    return write_csv(tmp_path / "birds.csv")


def raw(data):
    return data.read()[0].raw()[:]


def test_what_columns_hold_is_found_shown_and_becomes_one_number_each(csv):
    data = read(csv)
    assert {column.name: column.kind for column in data.table_columns} == {
        "mass": "numeric",
        "island": "category",
        "fed": "boolean",
        "ringed": "boolean",
        "seen": "date",
    }
    assert "mass (numeric), island (category of 2, some missing), fed (boolean)" in " ".join(data.notes)
    rows = raw(data)
    assert torch.equal(rows[:, 0], torch.from_numpy(K * 0.5).float())
    islands = [float("nan") if not k % 10 else (0.0, 1.0, 1.0)[k % 3] for k in K]
    torch.testing.assert_close(rows[:, 1], torch.tensor(islands), equal_nan=True, rtol=0, atol=0)
    assert torch.equal(rows[:, 2], torch.from_numpy(K % 4 > 0).float())
    assert rows[7, 3].isnan()
    assert rows[9, 4].isnan()
    assert rows[28, 4] - rows[1, 4] == -1  # the 1st and the 2nd of January
    assert data.class_names == ["owl", "rook", "swan"]


def test_the_first_layer_s_likelihood_and_noise_fit_the_features(csv):
    data = read(csv)
    assert data.feature_names == [
        *("mass", "seen", "fed", "ringed", "seen missing", "ringed missing"),
        *("island=Biscoe", "island=Dream", "island=other", "island=missing"),
    ]
    assert data.in_shape == (10,)
    assert data.layer_defaults == {"likelihood": Mixed(2, 4, (4,)), "corruption": SwapNoise(groups=(4,))}
    x = data.splits().train.x
    data.layer_defaults["likelihood"].check(x)
    assert torch.equal(x[:, 6:].sum(dim=1), torch.ones(len(x)))


@pytest.mark.parametrize("form", ["csv.gz", "tsv", "semicolons", "bom", "parquet", "folder", "partitions", "frame"])
def test_every_form_of_a_table_gives_the_same_rows(form, csv, tmp_path):
    expected = raw(read(csv))
    typed = pa.table({**COLUMNS, "mass": K * 0.5, "fed": K % 4 > 0}).set_column(
        1, "island", pa.array([None if value == "NA" else value for value in COLUMNS["island"]]).dictionary_encode()
    )
    path = {
        "csv.gz": lambda: write_csv(tmp_path / "b.csv.gz", opener=gzip.open),
        "tsv": lambda: write_csv(tmp_path / "b.tsv", separator="\t"),
        "semicolons": lambda: write_csv(tmp_path / "b.txt", separator=" ; "),
        "bom": lambda: (tmp_path / "b.csv", (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + csv.read_bytes()))[0],
        "parquet": lambda: (tmp_path / "b.parquet", pq.write_table(typed, tmp_path / "b.parquet"))[0],
        "folder": lambda: halves(tmp_path / "halves"),
        "partitions": lambda: partitions(tmp_path / "p", typed),
        "frame": lambda: typed,
    }[form]()
    data = read(path, features=["mass", "island", "fed", "ringed", "seen"])
    torch.testing.assert_close(raw(data), expected, equal_nan=True, rtol=0, atol=0)
    assert data.y.tolist() == (K % 3).tolist()


def halves(folder):
    folder.mkdir()
    for number, part in enumerate((slice(0, 40), slice(40, None))):
        write_csv(folder / f"{number}.csv", {name: values[part] for name, values in COLUMNS.items()})
    (folder / "README.txt").write_text("not data")
    return folder


def partitions(folder, table):
    """Files by a key that is constant in the first half, so that rows stay in their order."""
    for number, part in enumerate((table.slice(0, 40), table.slice(40))):
        (folder / f"half={number}").mkdir(parents=True)
        pq.write_table(part, folder / f"half={number}" / "0.parquet")
    return folder


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_separates_values_is_not_counted_in_names_within_quotes(mark, tmp_path):
    names = ["height, in cm", "weight, in kg, dry", "kind"]
    quoted = [*(f'"{name}"' for name in names[:-1]), names[-1]]
    rows = [f"{170 + k};{70 - k};{k % 2}" for k in range(20)]
    (tmp_path / "b.csv").write_text(mark + "\n".join([";".join(quoted), *rows]), encoding="utf-8")
    data = Table(tmp_path / "b.csv", "kind", cache=tmp_path / "cache")
    assert (data.columns, data.num_classes) == (names[:-1], 2)


def test_a_partition_key_is_a_column(tmp_path):
    folder = partitions(tmp_path / "p", pa.table(COLUMNS))
    data = read(folder, splits=None)
    assert (
        raw(data)[:, [column.name for column in data.table_columns].index("half")].tolist() == [0.0] * 40 + [1.0] * 50
    )


def test_kinds_can_be_named_and_columns_left_out(csv):
    data = read(csv, columns={"mass": "category", "ringed": "numeric"}, drop=["seen"])
    kinds = {column.name: (column.kind, len(column.values)) for column in data.table_columns}
    assert kinds == {
        "mass": ("category", N),
        "island": ("category", 2),
        "fed": ("boolean", 0),
        "ringed": ("numeric", 0),
    }
    assert data.table_columns[0].values[:3] == ("0.0", "0.5", "1.0")
    assert data.unused == []
    again = read(csv, **data.settled(), drop=["seen"])
    assert again.table_columns == data.table_columns


WRONG = {
    "text": ({"note": [f"bird {k}" for k in K]}, {}, "note .text: 90 different values, such as 'bird 0'. is none of"),
    "a category that is named is one": ({"note": [f"bird {k}" for k in K]}, {"columns": {"note": "category"}}, None),
    "a number that is none": (
        {"mass": [*K[:-1], "heavy"]},
        {"columns": {"mass": "numeric"}},
        "column mass must hold finite numbers, but row 89 of .*birds.csv .the first row is 0. holds 'heavy'",
    ),
    "infinity": ({"mass": [*K[:-1], "inf"]}, {}, "column mass must hold finite numbers, but row 89 of .* holds 'inf'"),
    "no such column": ({}, {"drop": ["age"]}, "has no column 'age'. It has mass, island, .* another by data.drop"),
    "a feature twice": ({}, {"features": ["mass", "mass"]}, "data.features names the column 'mass' twice"),
    "the target": ({}, {"features": ["mass", "kind"]}, "column 'kind' is named by data.target and cannot be a feature"),
    "nothing left": ({}, {"drop": ["mass", "island", "fed", "ringed", "seen"]}, "has no columns of features"),
    "no values": ({"mass": [""] * N}, {"features": ["mass"]}, "has no columns of features that hold a value"),
    "no labels": ({"kind": ["NA"] * N}, {}, "column kind: all labels are missing"),
    "a clock": ({"mass": 1.7e9 + K}, {}, "column mass has values too close for float32.* Subtract the least value"),
    "seconds": (
        {"seen": [f"2026-01-31 12:00:{k % 60:02}" for k in K]},
        {},
        "column seen has values too close for float32.* write the seconds since the first moment as a column of num",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_named_with_the_way_out(name, tmp_path):
    columns, settings, message = WRONG[name]
    path = write_csv(tmp_path / "birds.csv", changed(**columns))
    if message is None:
        read(path, **settings).splits()
        return
    with pytest.raises(DataError, match=message) as caught:
        read(path, **settings).splits()
    assert "\n" not in str(caught.value)


def columns_of(folder, *, form="utf-8", **texts):
    """A CSV file with columns of these values, repeated, and a target."""
    names = [*texts, "kind"]
    rows = [";".join([values[k % len(values)] for values in texts.values()] + ["ab"[k % 2]]) for k in range(40)]
    (folder / "b.csv").write_text("\n".join([";".join(names), *rows]), encoding=form)
    return folder / "b.csv"


DOUBTFUL = {
    "a mark": (["1", "2", "3", "-999"], "column x holds -999 in 10 rows, far from its other values (1 to 3)."),
    "a mark at the top": (["1.5", "2", "2.5", "9999"], "holds 9999 in 10 rows"),
    "a mark within the range": (["1", "2", "500", "-999", "2000", "-3000"], None),
    "a single one of a kind": (["1", "2", "3", "4"], None),
    "codes with zeros": (["01234", "99999", "23456"], "begin with zeros, as codes do, such as '01234'. If they are"),
    "zero": (["0", "1", "2", "0.5"], None),
    "dates in another form": (["31.12.2025", "01.01.2026"], "column x looks like dates, such as '31.12.2025'"),
    "capitals": (["Yes", "no", "yes", "maybe"], "column x holds 'Yes' and 'yes', which differ in capitals or spaces"),
    "points of thousands": (["1.234", "12.345", "950"], "'1.234', whose point may separate"),
    "three decimals": (["1.234", "12.345", "0.950", "7"], None),
    "versions": (["3.4.12", "3.5.1"], None),
    "letters": (["A", "a", "B"], None),
    "three decimals everywhere": (["1.234", "12.345", "9.500"], None),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_values_that_look_wrong_are_told(name, tmp_path):
    values, message = DOUBTFUL[name]
    data = Table(columns_of(tmp_path, x=values, z=["1.5", "2.5", "4.5"]), "kind", cache=tmp_path)
    assert any(message in each for each in data.warnings) if message else not data.warnings, data.warnings


def test_classes_that_differ_in_capitals_are_told(tmp_path):
    path = columns_of(tmp_path, label=["Yes", "no", "yes"], z=["1.5", "2.5"])
    data = Table(path, "label", drop=["kind"], cache=tmp_path)
    assert any("classes are called 'Yes' and 'yes'" in each for each in data.warnings)


def test_with_decimal_commas_points_separate_thousands(tmp_path):
    path = columns_of(tmp_path, x=["1.234.567", "-1.000,25", "950", "0,5"], y=["48.137", "7"])
    x = raw(read(path, decimal=",", splits=None, columns=None))
    assert sorted(set(x[:, 0].tolist())) == [-1000.25, 0.5, 950, 1234567]
    assert sorted(set(x[:, 1].tolist())) == [7, 48137]
    path = columns_of(tmp_path, x=["1,234", "950"])
    assert not read(path, decimal=",").warnings  # these are decimals
    path = columns_of(tmp_path, x=["1,5", "0,5"], y=["48.137", " 48.1"])
    with pytest.raises(DataError, match=r"b.csv: column y holds '48.1' with a decimal point, but data.decimal is ','"):
        read(path, decimal=",")
    assert read(path, decimal=",", drop=["y"]).columns == ["x"]


@pytest.mark.parametrize("values", [["12,345", "7,125"], ["1,234,567", "950"]])
def test_commas_that_may_separate_thousands_are_not_guessed(values, tmp_path):
    path = columns_of(tmp_path, x=values, z=["1.5", "2.5"])
    with pytest.raises(DataError, match=rf"x \(numbers with commas .* thousands, such as '{values[0]}'\)"):
        read(path)
    look = look_at(str(path), "kind")
    assert ("decimal" in look.settings, look.settings["drop"]) == (False, ["x"])
    assert any("left out, since it is no feature: x (numbers with commas" in hint for hint in look.hints)


def test_a_first_config_of_text_alone_says_what_the_columns_hold(tmp_path):
    path = columns_of(tmp_path, x=[f"{k}%" for k in range(40)])
    with pytest.raises(DataError, match=r"features must be .* but x \(text: 40 different values, such as '0%'\)"):
        look_at(str(path), "kind")


@pytest.mark.parametrize("form", ["utf-16", "utf-8-sig"])
def test_text_of_spreadsheets_is_read(form, tmp_path):
    data = read(columns_of(tmp_path, form=form, größe=["1,5", "2,5"]), decimal=",")
    assert (data.columns, set(raw(data).flatten().tolist())) == (["größe"], {1.5, 2.5})


BROKEN = {
    "a short line": (b"a,b\n1,2\n3\n", "Expected 2 columns, got 1.* Mend the line"),
    "no lines": (b"", "cannot be read as a table: Empty CSV file"),
    "numbers alone": (b"1,2\n3,4\n", "the first line must name the columns, but holds numbers: 1, 2. Add a line"),
    "a name twice": (b"a,b,a\n1,2,3\n", "the first line must name every column once, but column 2 is called 'a'"),
    "Latin letters": (b"a,b\n\xe4,1\n" * 9, "UTF-?8.* Save it as UTF-8"),
    "no gzip": (None, "cannot be read as a table"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_tables_are_refused_in_one_line(name, tmp_path):
    content, message = BROKEN[name]
    path = tmp_path / ("t.csv" if content is not None else "t.csv.gz")
    path.write_bytes(b"no gzip" if content is None else content)
    with pytest.raises(DataError, match=message) as caught:
        read(path, None)
    assert "\n" not in str(caught.value)


def test_codes_that_begin_as_numbers_are_all_known(tmp_path, monkeypatch):
    monkeypatch.setattr("aepretrain.data.table_files.BLOCK", 600)  # numbers alone in the first batches
    path = write_csv(tmp_path / "t.csv", changed(code=[k % 4 for k in K[:60]] + ["A", "B", "2"] * 10))
    data = read(path)
    (code,) = (column for column in data.table_columns if column.name == "code")
    assert code.values == ("0", "1", "2", "3", "A", "B")
    assert raw(data)[:, -1].tolist() == [*(K[:60] % 4), *[4, 5, 2] * 10]


def test_one_value_that_is_no_number_is_shown(tmp_path):
    path = write_csv(tmp_path / "t.csv", changed(mass=[*K[:50], "4..5", *K[51:]]))
    with pytest.raises(DataError, match=r"mass \(text: 90 different values, such as '0' and '4\.\.5'\)"):
        read(path)


def test_whole_numbers_of_a_category_are_the_same_in_every_form(tmp_path):
    table = pa.table({"zip": np.where(K % 2 == 0, 10.0, 10.5 + K % 3), "kind": COLUMNS["kind"]})
    data = Table(table, "kind", columns={"zip": "category"}, **SIZES)
    assert data.table_columns[0].values == ("10", "10.5", "11.5", "12.5")


def test_a_column_without_values_and_the_index_of_a_table_are_left_out(tmp_path):
    path = write_csv(tmp_path / "t.csv", {"": [str(k) for k in K], **changed(empty=["NA"] * N)})
    data = read(path)
    assert not {"", "empty"} & {column.name for column in data.table_columns}
    assert "left out, without any value: empty." in data.notes
    assert "left out: a column without a name." in data.notes


def test_rows_without_a_label_and_a_second_file_are_for_pretraining_alone(tmp_path):
    kinds = [kind if k % 3 or k > 60 else "" for k, kind in enumerate(COLUMNS["kind"])]
    path = write_csv(tmp_path / "t.csv", changed(kind=kinds))
    more = write_csv(
        tmp_path / "more.csv", {name: COLUMNS[name] for name in ("seen", "fed", "ringed", "island", "mass")}
    )
    data = read(path, more_inputs=more)
    labelled = sum(map(bool, kinds))
    splits = data.splits()
    assert len(splits.train) + len(splits.validation) + len(splits.test) == labelled
    assert len(splits.unlabelled) == len(splits.train) + (N - labelled) + N
    assert f"{N - labelled} rows without a label: they are for pretraining alone." in data.notes
    known = {tuple(row) for row in splits.unlabelled.tolist()}
    assert {tuple(row) for row in data.transform(raw(read(more, None, features=data.columns))).tolist()} <= known
    assert "inputs without labels" in data.fingerprint().parts


@pytest.mark.parametrize("setting", ["groups", "order", "splits"])
def test_rows_without_a_label_that_belong_with_held_out_ones_are_not_learnt(setting, tmp_path):
    place = [("train", "val", "test")[k // 30] for k in K] if setting == "splits" else K // 5
    kinds = ["" if k % 5 == 0 else COLUMNS["kind"][k] for k in K]
    path = write_csv(tmp_path / "t.csv", changed(kind=kinds, place=place, mass=K))
    how = {"order": {"order": "time", "times": "place"}}.get(setting, {setting: "place"})
    data = read(path, **{**how, **(dict.fromkeys(SIZES) if setting == "splits" else {})})
    splits = data.splits()
    masses = {
        name: set((x[:, 0] * data.transform.scaling.std[0] + data.transform.scaling.mean[0]).round().int().tolist())
        for name, x in (("pool", splits.unlabelled), ("validation", splits.validation.x), ("test", splits.test.x))
    }
    places = {name: {place[k] for k in found} for name, found in masses.items()}
    assert not places["pool"] & (places["validation"] | places["test"])
    assert any(k % 5 == 0 for k in masses["pool"])
    assert any("rows without a label left out: they belong with held-out examples" in note for note in data.notes)


def test_batches_within_a_budget_are_the_same_bits(csv, tmp_path):
    whole = read(csv, more_inputs=csv).splits()
    pieced = read(csv, more_inputs=csv, memory_budget="5kB").splits()
    assert isinstance(pieced.unlabelled, Rows)
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(whole, name).x[:], getattr(pieced, name).x[:])
    assert torch.equal(whole.unlabelled, pieced.unlabelled[:])


def test_rows_are_decoded_once_and_the_values_that_were_not_known_are_counted(csv, monkeypatch):
    monkeypatch.setattr("aepretrain.data.column_scan.MOST_VALUES", 1)
    assert len(read(csv).splits().train) == 60
    data = read(csv)
    monkeypatch.setattr(Column, "encode", None)  # what was decoded lies in the cache
    data.splits()
    assert any(
        "column island: 27 rows with values that have no code of their own, such as 'Biscoe'" in n for n in data.notes
    )


def test_the_files_may_change_only_if_the_fingerprint_does(csv, tmp_path):
    before = read(csv).fingerprint()
    assert before == read(csv, cache=tmp_path / "other", memory_budget="5kB").fingerprint()
    renamed = write_csv(
        tmp_path / "r.csv", changed(island=[value.replace("Biscoe", "Bisco") for value in COLUMNS["island"]])
    )
    assert any("column" in change for change in before.changes(read(renamed).fingerprint()))


def test_a_table_in_memory_goes_to_other_processes_and_leaves_nothing_behind():
    data = Table(pa.table(COLUMNS), "kind", **SIZES)
    assert data.notes[0] == "the table in memory: 90 rows in 1 file."
    folder = data.root.parent
    copied = pickle.loads(pickle.dumps(data))
    assert torch.equal(copied.splits().train.x, data.splits().train.x)
    del copied
    assert folder.is_dir()
    data = data.with_labels(30).with_split(1)
    data.splits()
    del data
    gc.collect()
    assert not folder.exists()


def test_other_libraries_frames_are_read():
    class Frame:
        def __init__(self, table):
            self.table = table

        def __arrow_c_stream__(self, requested_schema=None):
            return self.table.__arrow_c_stream__(requested_schema)

    for make in (lambda: pytest.importorskip("pandas").DataFrame(COLUMNS), lambda: Frame(pa.table(COLUMNS))):
        assert torch.equal(
            Table(make(), "kind", **SIZES).splits().train.x, Table(pa.table(COLUMNS), "kind", **SIZES).splits().train.x
        )


@pytest.mark.parametrize("root", [5, None, {"class_path": "os.system"}, np.ones((3, 3))])
def test_what_is_neither_a_path_nor_a_table_is_refused(root):
    with pytest.raises(ConfigError, match=r"data\.root must be a path, or in Python a table, but is"):
        Table(root)


def test_two_settings_that_divide_are_refused(csv):
    with pytest.raises(ConfigError, match=r"data\.times is used by data\.order time alone"):
        read(csv, times="seen")


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path):
    folder = tmp_path / "birds"
    folder.mkdir()
    write_csv(folder / "a.csv")
    junk = (".a.csv", "~b.csv", "_old.csv", "a.csv~", "notes.txt")
    for name in junk:
        (folder / name).write_text("junk")
    (note,) = (note for note in read(folder).notes if "files left out" in note)
    assert all(name in note for name in junk)
    assert not any("files left out" in note for note in read(folder / "a.csv").notes)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_that_only_some_files_have_is_named(tmp_path, ending):
    folder = tmp_path / "birds"
    folder.mkdir()
    whole, part = COLUMNS, {name: COLUMNS[name] for name in COLUMNS if name not in ("fed", "seen")}
    for name, columns in (("a", part), ("b", whole), ("c", whole)):
        if ending == "csv":
            write_csv(folder / f"{name}.csv", columns)
        else:
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    found = [each for each in read(folder).warnings if "it is left out" in each]
    assert len(found) == 2
    assert all(f"in 2 of 3 files ({folder / 'b'}.{ending}, " in each and f"a.{ending}: it is" in each for each in found)
    assert not any("it is left out" in each for each in read(folder, features=["mass"]).warnings)


def test_the_index_of_pandas_is_left_out_and_named(tmp_path):
    frame = pa.table({**COLUMNS, "__index_level_0__": K})
    pq.write_table(frame, tmp_path / "birds.parquet")
    data = read(tmp_path / "birds.parquet")
    assert "__index_level_0__" not in data.columns
    assert any("left out: __index_level_0__, the index of a pandas table" in note for note in data.notes)


def test_a_parquet_column_that_stands_twice_is_refused(tmp_path):
    pq.write_table(pa.table([K, K, K % 3], ["a", "a", "kind"]), tmp_path / "birds.parquet")
    with pytest.raises(DataError, match="the column 'a' is there twice"):
        read(tmp_path / "birds.parquet")
