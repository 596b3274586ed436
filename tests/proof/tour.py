"""Types the README's five minutes into two terminals, as a person does, and waits for what it promises.

Usage: tour.py README OMCTL_DIR FOLDER. Prints one JSON object: the commands, the closing line, the seconds.
"""

import json
import os
import pty
import re
import select
import sys
import time


def commands(readme):
    """The lines of the two shell blocks under "Five minutes", by block, without comments and installation."""
    text = open(readme, encoding="utf-8").read()
    section = text.split("## Five minutes", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.S)[:2]
    lines = [[line.split("  #")[0].strip() for line in block.splitlines()] for block in blocks]
    return [[line for line in block if line and not line.startswith("cargo ")] for block in lines]


class Terminal:
    """A shell on a pseudo-terminal of 120 columns."""

    def __init__(self, folder, path):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            keep = {"PATH": path + ":" + os.environ["PATH"], "HOME": folder, "TERM": "xterm-256color", "COLUMNS": "120"}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {**keep, "PS1": "ready> "})
        self.seen = ""

    def type(self, line):
        for letter in line + "\n":
            os.write(self.fd, letter.encode())

    def until(self, pattern, seconds):
        """Reads until the pattern shows in what came since the last call; answers the text before its end."""
        end = time.monotonic() + seconds
        while True:
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)
            found = re.search(pattern, plain)
            if found:
                self.seen = plain[found.end():]
                return plain[: found.end()]
            if time.monotonic() > end:
                sys.exit(f"tour.py: {pattern!r} did not show within {seconds} s; what did:\n{plain[-3000:]}")
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    sys.exit(f"tour.py: the terminal ended; what it showed:\n{plain[-3000:]}")


def main():
    readme, path, folder = sys.argv[1:4]
    first_block, second_block = commands(readme)
    began = time.monotonic()
    first = Terminal(folder, path)
    first.until("ready> ", 10)
    for line in first_block:
        first.type(line)
        first.until(r"is live at http" if "serve" in line else r"[\r\n]ready> ", 30)
    second = Terminal(folder, path)
    second.until("ready> ", 10)
    # "In another terminal, in the same folder"
    second.type("cd " + re.search(r"cd (\S+)", " ".join(first_block)).group(1))
    second.until(r"[\r\n]ready> ", 10)
    closing = ""
    for line in second_block:
        second.type(line)
        shown = second.until(r"[\r\n]ready> ", 120)
        lines = [one.strip() for one in shown.splitlines() if re.search(r"converged|lost \d", one)]
        closing = lines[-1] if lines else closing
    seconds = time.monotonic() - began
    first.type("q")
    first.until(r"[\r\n]ready> ", 30)
    typed = first_block + second_block
    print(json.dumps({"commands": typed, "closing": closing, "seconds": round(seconds, 1)}))


main()
