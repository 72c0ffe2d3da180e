"""The instruction set: one declaration that the writer and the interpreter follow."""

import ast
import re
from pathlib import Path

import gdkernels_numba
import pytest
from gdkernels_numba import compilation
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.vm.block_instructions import Barrier, TransposeBlock
from gdkernels_numba.vm.fields import StridedAddress, fields_of, offsets_of, words_of
from gdkernels_numba.vm.instructions import END, HEADER, INSTRUCTIONS, MOVES_BY_NUMBER, Header, generated_constants
from gdkernels_numba.vm.thread_context import CONTEXT, ThreadContext
from gdkernels_numba.vm.tile_instructions import LoopOverTile, MultiplyTile

from gdkernels.groups import tree

ROOM = Path(gdkernels_numba.__file__).parent
READERS = ("run", "turns", "progress", "phases", "rows", "blocks", "batch_sums", "context")
READS = [ROOM / "vm" / f"{name}.py" for name in READERS]


def example(kind, first=1000):
    """Return an instruction with different words everywhere."""
    given = {}
    for field in fields_of(kind):
        if field.name not in ("operands", "body"):
            words = range(first, first := first + field.words)
            given[field.name] = StridedAddress(*words) if field.strided else words[0]
    return kind(**given)


def written(kind):
    stream = InstructionStream()
    layout, operands = INSTRUCTIONS[kind], [StridedAddress(1, 2, 3), StridedAddress(4, 5, 6)]
    if hasattr(layout.at, "body"):
        with stream.with_body(example(kind)):
            stream.add(Barrier())
    else:
        stream.add(example(kind), operands=operands if hasattr(layout.at, "operands") else None)
    return stream.array().tolist()


@pytest.mark.parametrize("kind", INSTRUCTIONS, ids=lambda kind: kind.__name__)
class TestEveryInstruction:
    def test_words_stand_where_the_reader_looks(self, kind):
        layout, words, wanted = INSTRUCTIONS[kind], written(kind), example(kind)
        assert words[HEADER.opcode] == layout.opcode != END
        following = words[layout.size : -1]
        for field, at, value in zip(fields_of(kind), layout.at, wanted, strict=True):
            if field.name == "body":
                assert following == [INSTRUCTIONS[Barrier].opcode, len(Header._fields)]
                assert words[at] == len(following)
                assert words[HEADER.length] == layout.size
            elif field.name == "operands":
                assert following == [1, 2, 3, 4, 5, 6]
                assert words[at] == 2
                assert words[HEADER.length] == layout.size + len(following)
            else:
                found = StridedAddress(*(words[k] for k in at)) if field.strided else words[at]
                assert found == value, field.name
        assert words[-1] == END

    def test_a_missing_or_unknown_field_is_an_error(self, kind):
        whole = example(kind)._asdict()
        for field in whole.keys() - {"operands", "body"}:
            with pytest.raises(TypeError, match=field):
                kind(**{name: value for name, value in whole.items() if name != field})
        with pytest.raises(TypeError, match="colour"):
            kind(**whole, colour=1)

    def test_a_number_is_no_strided_address_nor_the_other_way_round(self, kind):
        for field in fields_of(kind):
            wrong = example(kind)._replace(**{field.name: 5 if field.strided else StridedAddress(5)})
            with pytest.raises(TypeError, match=rf"{kind.__name__}\.{field.name} cannot be"):
                words_of(wrong)

    def test_every_field_is_read(self, kind):
        """By the interpreter, where something runs the instruction; or by the kernel that is called with it."""
        constant = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()
        source = "".join(path.read_text("utf-8") for path in READS)
        if INSTRUCTIONS[kind] in MOVES_BY_NUMBER.values():
            kernels = (ROOM / "kernels" / "coded.py").read_text("utf-8")
            for field in fields_of(kind):
                whole = rf"\bf\.{field.name}{'_base' if field.strided else ''}\b"
                in_tile = rf'in_tile\("{field.name}"\)'
                assert field.name == "kernel" or re.search(f"{whole}|{in_tile}", kernels), field.name
            return
        assert f"{constant}.opcode" in source
        for field in fields_of(kind):
            assert re.search(rf"\.{field.name}\b", source), field.name


def test_operands_and_bodies_are_written_where_they_belong():
    stream = InstructionStream()
    with pytest.raises(TypeError, match="LoopOverTile takes operands"):
        stream.add(example(LoopOverTile))
    with pytest.raises(TypeError, match="TransposeBlock takes no operands"):
        stream.add(example(TransposeBlock), operands=[])
    with pytest.raises(TypeError, match="MultiplyTile has a body"):
        stream.add(example(MultiplyTile))
    with pytest.raises(TypeError, match="TransposeBlock has no body"), stream.with_body(example(TransposeBlock)):
        pass
    assert stream.words == []


def test_the_context_is_its_offsets():
    assert [*CONTEXT] == [*range(len(ThreadContext._fields))]
    assert offsets_of(ThreadContext) == CONTEXT
    with pytest.raises(TypeError, match="contexts"):
        ThreadContext(thread=0, threads=1)


def test_every_declaration_says_what_it_is():
    for kind in (*INSTRUCTIONS, Header, ThreadContext):
        assert "\n" not in kind.__doc__, kind
        assert kind.__doc__.endswith("."), kind
        assert all(field.meaning for field in fields_of(kind)), kind


@pytest.mark.parametrize("path", READS, ids=lambda path: path.stem)
def test_the_interpreter_types_no_offset(path):
    source = path.read_text("utf-8")
    assert not re.search(r"\bword\(\w+, *\d", source), "an offset comes from the declaration: word(i, AT.field)"
    tree = ast.parse(source)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]  # a constant of the module is a name
    constants = [n for f in functions for n in ast.walk(f) if isinstance(n, ast.Constant)]
    assert {n.value for n in constants if type(n.value) is int} <= {0, 1, 2}, (
        "sizes have names: WORD, or an instruction's"
    )
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)):
        if call.func.id in ("word", "set_word", "address"):
            index = [n for n in ast.walk(call.args[1]) if isinstance(n, ast.Constant)]
            assert not index, f"{path.name}:{call.lineno}"


def test_the_key_of_the_interpreters_code_is_made_of_all_that_it_is_compiled_from():
    sources = compilation.interpreter_sources()
    assert generated_constants() in sources
    imported = set()
    for path in (ROOM / "vm").glob("*.py"):
        text = path.read_text("utf-8")
        assert text in sources, path
        imported |= {n.module for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)}
    others = {m for m in imported if m.startswith("gdkernels") and not m.startswith("gdkernels_numba.vm.")}
    # What `features` says of the processor is part of every key.
    writers = {f"gdkernels_numba.ir.{name}" for name in ("emit", "expressions", "format", "translate")}
    assert others == writers | {"gdkernels_numba.cpu.features", tree.__name__}
    assert Path(tree.__file__).read_text("utf-8") in sources
    for module in writers:
        assert (ROOM / "ir" / f"{module.rpartition('.')[2]}.py").read_text("utf-8") in sources


def test_another_order_of_fields_gives_another_key(monkeypatch):
    before = generated_constants()
    kind = TransposeBlock
    layout = INSTRUCTIONS[kind]
    moved = layout.at._replace(source_pitch=layout.at.target_pitch, target_pitch=layout.at.source_pitch)
    monkeypatch.setitem(INSTRUCTIONS, kind, layout._replace(at=moved))
    assert generated_constants() != before
