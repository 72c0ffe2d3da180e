"""Vectors of one width in LLVM IR: loads and stores, arithmetic, comparisons, lanes in another order."""

from llvmlite import ir

from gdkernels_numba.ir.emit import I1, I32, I64, VOID, Function
from gdkernels_numba.ir.format import Format

__all__ = ["Vectors"]


class _BFloat(ir.Type):  # type: ignore[misc]  # llvmlite has no types
    """LLVM's bfloat, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


class Vectors:
    """Vector operations, written where the builder of `function` stands.

    Fused multiply-adds are used where the processor has them; nothing assumes that numbers are finite.
    """

    def __init__(self, function: Function, format: Format) -> None:
        self.function, self.format, self.builder = function, format, function.builder
        self.type = ir.VectorType(format.scalar, format.lanes)
        self.integers = ir.VectorType(ir.IntType(format.bits), format.lanes)
        self._int32s = ir.VectorType(I32, format.lanes)
        self._bfloats = ir.VectorType(_BFloat(), 2 * format.lanes)
        self.suffix = f"v{format.lanes}f{format.bits}"

    # ---- constants and memory

    def constant(self, value: float) -> ir.Value:
        return ir.Constant(self.type, [value] * self.format.lanes)

    def integer(self, value: int) -> ir.Value:
        return ir.Constant(self.integers, [value] * self.format.lanes)

    def load(self, address: ir.Value, *, align: int | None = None) -> ir.Value:
        load = self.builder.load(self.function.pointer(address), typ=self.type)
        load.align = align or self.format.bytes
        return load

    def store(self, value: ir.Value, address: ir.Value) -> None:
        self.builder.store(value, self.function.pointer(address)).align = self.format.bytes

    def prefetch(self, address: ir.Value, *, near: bool = False) -> None:
        """Prefetch a line of memory into the second-level cache, or the first if `near`; any address will do."""
        read, level, data = (ir.Constant(I32, n) for n in (0, 3 if near else 2, 1))
        self.function.call("llvm.prefetch.p0", VOID, self.function.pointer(address), read, level, data)

    def prefetch_to_write(self, address: ir.Value) -> None:
        """Prefetch a line of memory for writing, which takes it from other cores; any address will do."""
        write, first_level, data = (ir.Constant(I32, n) for n in (1, 3, 1))
        self.function.call("llvm.prefetch.p0", VOID, self.function.pointer(address), write, first_level, data)

    def load_scalar(self, address: ir.Value) -> ir.Value:
        return self.builder.load(self.function.pointer(address), typ=self.format.scalar)

    def splat(self, scalar: ir.Value) -> ir.Value:
        undefined = ir.Constant(ir.VectorType(scalar.type, self.format.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.format.lanes), [0] * self.format.lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def broadcast(self, address: ir.Value) -> ir.Value:
        """Return the number at `address` in all lanes."""
        return self.splat(self.load_scalar(address))

    def broadcast_double(self, address: ir.Value) -> ir.Value:
        """Return the float64 number at `address`, rounded to this precision, in all lanes."""
        number = self.builder.load(self.function.pointer(address), typ=ir.DoubleType())
        return self.splat(number if self.format.bits == 64 else self.builder.fptrunc(number, self.format.scalar))

    def first_lanes(self, count: ir.Value) -> ir.Value:
        """Return the mask of the lanes below `count`, an integer that may exceed their number."""
        most = self.function.least(count, self.format.lanes)
        narrow = most if self.format.bits == 64 else self.builder.trunc(most, I32)
        return self.builder.icmp_signed(
            "<", ir.Constant(self.integers, list(range(self.format.lanes))), self.splat(narrow)
        )

    def load_masked(self, address: ir.Value, mask: ir.Value) -> ir.Value:
        """Return the numbers at `address` in the lanes of `mask`, and zero elsewhere; read no other memory."""
        name = f"llvm.masked.load.{self.suffix}.p0"
        values = [self.function.pointer(address), ir.Constant(I32, self.format.size), mask, self.constant(0.0)]
        return self.function.call(name, self.type, *values)

    def store_masked(self, value: ir.Value, address: ir.Value, mask: ir.Value) -> None:
        name = f"llvm.masked.store.{self.suffix}.p0"
        values = [value, self.function.pointer(address), ir.Constant(I32, self.format.size), mask]
        self.function.call(name, ir.VoidType(), *values)

    # ---- arithmetic, named as in the graph

    def intrinsic(self, name: str, *values: ir.Value) -> ir.Value:
        return self.function.call(f"llvm.{name}.{self.suffix}", self.type, *values)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.intrinsic("fmuladd", a, b, c)

    def exact_fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a·b + c rounded once; where the processor has no such operation, by the C library."""
        return self.intrinsic("fma", a, b, c)

    def dot_bf16(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return c + a₁b₁ + a₀b₀, where lanes of `a` and `b` are pairs of bfloat16, the lower half first.

        VDPBF16PS rounds each product and each sum to nearest even, whatever the control register says; operands and
        results that are denormal are zero (Intel's Instruction Set Reference).
        """
        pairs = [self.builder.bitcast(x, self._bfloats) for x in (a, b)]
        return self.function.call("llvm.x86.avx512bf16.dpbf16ps.512", self.type, c, *pairs)

    def pack_bf16(self, low: ir.Value, high: ir.Value) -> ir.Value:
        """Return two vectors rounded to bfloat16, as one of 16-bit integers; denormals are zero."""
        found = self.function.call("llvm.x86.avx512bf16.cvtne2ps2bf16.512", self._bfloats, high, low)
        return self.builder.bitcast(found, ir.VectorType(ir.IntType(16), 2 * self.format.lanes))

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fadd(a, b)

    def subtract(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fsub(a, b)

    def multiply(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fmul(a, b)

    def divide(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fdiv(a, b)

    def negative(self, a: ir.Value) -> ir.Value:
        return self.builder.fneg(a)

    def abs(self, a: ir.Value) -> ir.Value:
        return self.intrinsic("fabs", a)

    def sqrt(self, a: ir.Value) -> ir.Value:
        return self.intrinsic("sqrt", a)

    def sign(self, a: ir.Value) -> ir.Value:
        zero = self.constant(0.0)
        below = self.where(self.less(a, zero), self.constant(-1.0), a)  # a: zero or NaN
        return self.where(self.greater(a, zero), self.constant(1.0), below)

    def maximum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._extremum(">=", a, b)

    def minimum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._extremum("<=", a, b)

    def _extremum(self, beats: str, a: ir.Value, b: ir.Value) -> ir.Value:
        chosen = self.where(self.builder.fcmp_unordered(beats, a, b), a, b)
        return self.where(self.is_nan(b), b, chosen)  # a NaN in `a` was chosen already

    def is_nan(self, a: ir.Value) -> ir.Value:
        return self.builder.fcmp_unordered("uno", a, a)

    def greater(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fcmp_ordered(">", a, b)

    def greater_equal(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fcmp_ordered(">=", a, b)

    def less(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fcmp_ordered("<", a, b)

    def less_equal(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fcmp_ordered("<=", a, b)

    def equal(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fcmp_ordered("==", a, b)

    def not_equal(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fcmp_unordered("!=", a, b)

    def logical_and(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.and_(a, b)

    def logical_or(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.or_(a, b)

    def logical_not(self, a: ir.Value) -> ir.Value:
        return self.builder.xor(a, ir.Constant(ir.VectorType(I1, self.format.lanes), [1] * self.format.lanes))

    def where(self, condition: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(condition, a, b)

    # ---- 32-bit integers, named as in recipes

    def int32(self, value: int) -> ir.Value:
        return ir.Constant(self._int32s, [value] * self.format.lanes)

    def integer_loaded(self, a: ir.Value) -> ir.Value:
        """Return the integers that were loaded as numbers: those have their bits, or in float64 their values."""
        return self.to_int(a) if self.format.bits == 64 else self.builder.bitcast(a, self._int32s)

    def to_int(self, a: ir.Value) -> ir.Value:
        return self.builder.fptosi(a, self._int32s)

    def to_real(self, a: ir.Value) -> ir.Value:
        return self.builder.sitofp(a, self.type)

    def integer_add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.add(a, b)

    def integer_subtract(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.sub(a, b)

    def integer_multiply(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.mul(a, b)

    def bitwise_and(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.and_(a, b)

    def bitwise_or(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.or_(a, b)

    def bitwise_xor(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.xor(a, b)

    def bitwise_left_shift(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.shl(a, b)

    def bitwise_right_shift(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.ashr(a, b)

    # ---- bits

    def as_integers(self, a: ir.Value) -> ir.Value:
        return self.builder.bitcast(a, self.integers)

    def as_numbers(self, a: ir.Value) -> ir.Value:
        return self.builder.bitcast(a, self.type)

    # ---- across the lanes

    def any(self, mask: ir.Value) -> ir.Value:
        bits = ir.IntType(self.format.lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(mask, bits), ir.Constant(bits, 0))

    def shuffled(self, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
        """Return for each lane that of a and b, one behind the other, which `order` names."""
        mask = ir.Constant(ir.VectorType(I32, self.format.lanes), order)
        return self.builder.shuffle_vector(a, b, mask)

    def lane(self, a: ir.Value, k: int) -> ir.Value:
        return self.builder.extract_element(a, ir.Constant(I64, k))
