"""Stand-ins for CANN's and CUDA's libraries, so that MindSpore's dry run loads on a machine that has neither.

MindSpore's wheel holds the plugins for Ascend and GPUs. To load, they need libraries of certain names with certain
symbols, which are those that MindSpore's own files leave undefined or look up by name. Here each gets a function that
does nothing; `stand_in_cann.cc` and `stand_in_cuda.c` hold the few whose callers use what they return.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = (_HERE / "stand_ins.py", _HERE / "stand_in_cann.cc", _HERE / "stand_in_cuda.c")
# Looked up by name at run time, not linked to.
_OPENED = ("libopapi.so", "libacl_op_compiler.so", "libacl_tdt_channel.so", "libacl_tdt_queue.so")
_SYSTEM = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64")
_DRIVER = "libcuda.so.1"  # its symbols have no versions

# Bodies of functions in assembly. An object that is returned has its address in rdi, as the object of a method has.
_NOTHING = "xorl %eax, %eax\n ret"
_SELF = "movq %rdi, %rax\n ret"
_EMPTY_POINTER = "movq $0, (%rdi)\n movq $0, 8(%rdi)\n movq %rdi, %rax\n ret"
_EMPTY_VECTOR = "movq $0, 16(%rdi)\n" + _EMPTY_POINTER
_OPERATOR = (
    "leaq methods(%rip), %rax\n movq %rax, (%rdi)\n movq $0, 8(%rdi)\n movq $0, 16(%rdi)\n movq %rdi, %rax\n ret"
)
_HANDLE = "leaq handle(%rip), %rax\n ret"
# What a C++ function of CANN gets, by its name; the first that fits.
_BODIES = (
    (r"ge::(\w+)::~?\1\(.*", None),  # by class, below
    (r"ge::Operator::(SetInput|SetAttr|AddControlInput)\(.*", _SELF),
    (r"ge::Graph::Set.*", _SELF),
    (r"ge::OperatorFactory::CreateOperator.*", _OPERATOR),
    (r".*GetCompiledGraphSummary.*", _EMPTY_POINTER),
    (r"ge::GNode::Get(In|Out)(Control|Data)Nodes.*", _EMPTY_VECTOR),
    (r"aclCreate\w+", _HANDLE),
)
_SHARED_POINTERS = ("TensorDesc", "Shape", "Tensor", "Graph", "TensorType", "Promote", "GraphBuffer", "Session")


def build_stand_ins(mindspore: Path, cache: Path) -> Path:
    """Return a folder with `cann/{lib64,opp,python}` and `cuda/{lib,bin}`; it is built once for a MindSpore.

    Args:
        mindspore: the folder of the installed package.
        cache: where to keep them.

    Raises:
        subprocess.CalledProcessError: a compiler fails.
    """
    folder = cache / _fingerprint(mindspore)
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=cache))
    _build_cann(mindspore, temporary / "cann")
    _build_cuda(mindspore, temporary / "cuda")
    for old in cache.iterdir():
        if old != temporary:
            shutil.rmtree(old, ignore_errors=True)
    temporary.rename(folder)
    return folder


def _fingerprint(mindspore: Path) -> str:
    libraries = sorted((mindspore / "lib").rglob("*.so*"))
    parts = [(str(file.relative_to(mindspore)), file.stat().st_size) for file in libraries]
    texts = [file.read_bytes() for file in (mindspore / "version.py", *_SOURCES)]
    return hashlib.sha256(repr((parts, texts)).encode()).hexdigest()[:24]


def _run(*command: object, **options: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **options).stdout


def _symbols(files: Iterable[Path], kind: str) -> set[str]:
    """Return the dynamic symbols of libraries, `name` or `name@version`; kind: defined or undefined; no weak ones."""
    lines = _run("nm", "-D", f"--{kind}-only", *files).splitlines()
    return {row[-1] for row in map(str.split, lines) if len(row) >= 2 and row[-2] != "w"}


def _names(symbols: Iterable[str]) -> set[str]:
    return {symbol.split("@")[0] for symbol in symbols}


def _needed(files: Iterable[Path]) -> set[str]:
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", _run("readelf", "-d", *files)))


def _build_cann(mindspore: Path, folder: Path) -> None:
    """Put all functions in libascendcl.so; the libraries of the other names are empty and depend on it."""
    package = [
        *(file for file in (mindspore / "lib").rglob("*.so*") if not re.search(r"gpu|akg|cuda|custom_", str(file))),
        *mindspore.glob("_c_expression*.so"),
    ]
    plugin = [file for file in package if re.search(r"ascend|hccl|d_collective|ge_backend|graph_ir|shmem", file.name)]
    defined = _names(_symbols(package, "defined"))
    libraries = {*_OPENED}
    for name in _needed(plugin) - {file.name for file in package}:
        system = next((Path(parent, name) for parent in _SYSTEM if Path(parent, name).exists()), None)
        if system is None:
            libraries.add(name)
        else:
            defined |= _names(_symbols([system], "defined"))
    names = {name for name in _names(_symbols(plugin, "undefined")) - defined if not name.startswith(("Py", "_Py"))}
    names |= _looked_up([*plugin, *(file for file in package if re.search(r"py(boost|native)", file.name))])

    target = folder / "lib64"
    target.mkdir(parents=True)
    (folder / "opp").mkdir()
    # MindSpore looks at the version of CANN's Python package before it lets devices talk to each other.
    package_hccl = folder / "python" / "hccl"
    package_hccl.mkdir(parents=True)
    (package_hccl / "__init__.py").touch()
    (package_hccl / "sys_version.py").write_text('__sys_version__ = "0.0"\n')
    compile_cann = ("g++", "-std=c++17", "-O1", "-fPIC", "-D_GLIBCXX_USE_CXX11_ABI=0")
    written = folder / "written.o"
    _run(*compile_cann, "-c", _SOURCES[1], "-o", written)
    written_names = {line.split()[-1] for line in _run("nm", "--defined-only", written).splitlines()}
    assembly = folder / "others.s"
    assembly.write_text(_assembly(sorted(names - written_names)))
    main = target / "libascendcl.so"
    _run(*compile_cann, "-shared", "-Wl,-soname,libascendcl.so", written, assembly, "-o", main)
    empty = folder / "empty.c"
    empty.write_text("")
    for name in libraries - {main.name}:
        command = ("gcc", "-shared", "-fPIC", "-Wl,--no-as-needed", f"-Wl,-soname,{name}", empty)
        _run(*command, f"-L{target}", "-lascendcl", "-o", target / name)


def _looked_up(files: Iterable[Path]) -> set[str]:
    """Return the functions of CANN's C interfaces that libraries name in their texts."""
    names: set[str] = set()
    for file in files:
        for match in re.findall(rb"\b(acl[a-z]*[A-Z]\w*|[A-Z]\w*(?:HugeMem|PTA)\w*)\x00", file.read_bytes()):
            name = match.decode().removesuffix("GetWorkspaceSize")
            if name.startswith("Un"):
                names.add(name.removeprefix("Un"))  # a linker keeps a text that ends another one within that
            if not name.endswith(("_", "FunObj")):
                names |= {name, f"{name}GetWorkspaceSize"} if name.startswith("aclnn") else {name}
    return names


def _assembly(names: list[str]) -> str:
    readable = _run("c++filt", input="\n".join(names)).splitlines()
    lines = [".data", ".lcomm handle, 4096", "methods: .fill 64, 8, 0", ".text"]
    for name, signature in zip(names, readable, strict=True):
        lines += [f".globl {name}", f".type {name}, @function", f"{name}:", f" {_body(signature)}"]
    return "\n".join([*lines, '.section .note.GNU-stack, "", @progbits', ""])


def _body(signature: str) -> str:
    for pattern, body in _BODIES:
        match = re.fullmatch(pattern, signature)
        if match and body is None:
            return {"Operator": _OPERATOR}.get(match[1], _EMPTY_POINTER if match[1] in _SHARED_POINTERS else _SELF)
        if match:
            return body
    return _NOTHING


def _build_cuda(mindspore: Path, folder: Path) -> None:
    """Build each library of CUDA with the symbols, in their versions, that MindSpore's plugins want of it."""
    plugins = [*(mindspore / "lib/plugin").glob("libmindspore_gpu.so*"), *(mindspore / "lib/plugin").glob("gpu*/*.so*")]
    wanted: dict[str, set[str]] = defaultdict(set)
    for symbol in _symbols(plugins, "undefined"):
        name, _, version = symbol.partition("@")
        if re.match(r"lib(cu|nv)\w+\.so", version):
            wanted[version].add(name)
        elif re.fullmatch(r"cu\w+", name) and not version:
            wanted[_DRIVER].add(name)  # wherever it is defined
    (folder / "lib").mkdir(parents=True)
    written = set(re.findall(r"^(?:int|const char \*) ?\*?(\w+)\(|^[A-Z_]+\((\w+)\)$", _SOURCES[2].read_text(), re.M))
    written_names = {name for pair in written for name in pair if name}
    for library, names in wanted.items():
        source, versions = folder / "others.c", folder / "others.map"
        others = sorted(names - written_names)
        source.write_text(f'#include "{_SOURCES[2]}"\n' + "".join(map(_cuda_function, others)))
        version = "" if library == _DRIVER else library
        versions.write_text(f"{version} {{ global: {'; '.join(sorted(names))}; local: *; }};\n")
        command = ("gcc", "-w", "-O1", "-shared", "-fPIC", source, f"-Wl,-soname,{library}")
        _run(*command, f"-Wl,--version-script,{versions}", "-o", folder / "lib" / library)
    compiler = folder / "bin" / "nvcc"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 11.6, V11.6.124'\n")
    compiler.chmod(0o755)


def _cuda_function(name: str) -> str:
    if "Create" in name:
        return f"int {name}(void **handle) {{ *handle = malloc(256); return 0; }}\n"
    return f"int {name}(void) {{ return 0; }}\n"
