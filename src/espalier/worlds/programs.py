"""A world of tiny programs: what they compute, whether they can run at all, and what that costs, exactly.

A program is a string of instructions for a stack that begins empty: `x` pushes the input, `1` pushes one, `+` and `*`
take two numbers and push their sum or product. It compiles if it never takes from an empty stack and leaves one
number. So `xx+` doubles its input, and so does `x11+*`, for more.
"""

from __future__ import annotations

from dataclasses import dataclass

INSTRUCTIONS = "x1+*"
COSTS = {"x": 1, "1": 1, "+": 1, "*": 4}
"""Time units that an instruction takes."""


def compiles(program: str) -> bool:
    """Whether a program can run, on any input.

    >>> compiles("xx+"), compiles("x+"), compiles("xx"), compiles("")
    (True, False, False, False)
    """
    depth = 0
    for instruction in program:
        if instruction not in COSTS:
            return False
        if instruction in "+*":
            if depth < 2:
                return False
            depth -= 1
        else:
            depth += 1
    return depth == 1


def execute(program: str, x: int) -> int:
    """What a program makes of its input.

    >>> execute("xx+", 21), execute("x1+x*", 3)
    (42, 12)

    Raises:
        ValueError: the program does not compile.
    """
    if not compiles(program):
        raise ValueError(f"{program!r} does not compile")
    return stack(program, x)[0]


def stack(beginning: str, x: int) -> list[int]:
    """What stands on the stack after these instructions, the first of a program.

    >>> stack("xx*1", 5)
    [25, 1]

    Raises:
        ValueError: an instruction is unknown, or takes from an empty stack.
    """
    numbers: list[int] = []
    for instruction in beginning:
        if instruction not in COSTS or (instruction in "+*" and len(numbers) < 2):
            raise ValueError(f"{beginning!r} cannot run: {instruction!r} on {numbers}")
        if instruction in "+*":
            second, first = numbers.pop(), numbers.pop()
            numbers.append(first + second if instruction == "+" else first * second)
        else:
            numbers.append(x if instruction == "x" else 1)
    return numbers


def cost(program: str) -> int:
    """The time that a program takes."""
    return sum(COSTS[instruction] for instruction in program)


@dataclass(frozen=True)
class Task:
    """A program to be written: it should do what the reference does.

    Attributes:
        reference: a program that does, and whose cost others are measured by.
        inputs: the tests.
    """

    reference: str
    inputs: tuple[int, ...] = (-2, 0, 1, 3, 7)

    def passed(self, program: str) -> float:
        """The share of the tests that a program passes; 0 if it does not compile."""
        if not compiles(program):
            return 0.0
        right = sum(execute(program, x) == execute(self.reference, x) for x in self.inputs)
        return right / len(self.inputs)
