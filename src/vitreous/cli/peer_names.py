"""Names that other programs have for commands of this one."""

# Names the peers use for the same command.
ALIASES = {
    "parse-pose-cs": "parse-pose-csparc",
    "parse-ctf-cs": "parse-ctf-csparc",
    "concat-pkls": "concat",
    "filter-mrcs": "filter",
    "filter-pkl": "filter",
    "write-cs": "filter-cs",
    "write-star": "convert",
    "translate-mrcs": "translate",
    "view-header": "view",
    "view-cs-header": "view",
    "view-mrcs": "view",
    "optimize-deformations-rigid": "optimize-deformations",
    "optimize-deformations-single": "optimize-deformations",
    "optimize-inverse-deformations-single": "optimize-inverse-deformations",
    "deformable-backprojection-single": "deformable-backprojection",
    "deformable-backprojection-single-deformation": "deformable-backprojection",
}

# Commands of peers that another way of saying it replaces.
REPLACED = {
    "deformable-backprojection-correction": "deformable-backprojection RUN --max-difference 5",
}
