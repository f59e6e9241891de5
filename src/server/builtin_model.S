# The built-in model as bytes of the executable.
    .section .rodata
    .global drover_builtin_model_begin
    .global drover_builtin_model_end
    .balign 64
drover_builtin_model_begin:
    .incbin DROVER_BUILTIN_MODEL
drover_builtin_model_end:
    .byte 0
    .section .note.GNU-stack, "", @progbits
