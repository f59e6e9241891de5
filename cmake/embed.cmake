# Writes files as C++ constants: cmake -DOUTPUT=FILE.cc -DFOLDER=FOLDER -DFILES="a.css;b.js" -DHEADER=api/ui_files.h
#   -DNAMESPACE=drover::api -DTYPE=UiFile -DFUNCTION=ui_files -P embed.cmake
#
# What it writes defines FUNCTION, a span of TYPE {name, bytes}, as HEADER declares both.
set(arrays "")
set(entries "")
set(index 0)
foreach(file IN LISTS FILES)
  file(READ ${FOLDER}/${file} bytes HEX)
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND arrays "constexpr char kFile${index}[] = {${bytes}};\n")
  string(APPEND entries "    {\"${file}\", {kFile${index}, sizeof(kFile${index})}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(
  WRITE ${OUTPUT}
  "#include \"${HEADER}\"\n\nnamespace ${NAMESPACE} {\nnamespace {\n\n${arrays}\nconstexpr ${TYPE} kFiles[] = {\n${entries}};\n\n"
  "}  // namespace\n\nstd::span<const ${TYPE}> ${FUNCTION}() {\n  return kFiles;\n}\n\n}  // namespace ${NAMESPACE}\n")
