# Writes files as C++ constants: cmake -DOUTPUT=FILE.cc -DFOLDER=FOLDER -DFILES="a.css;b.js" -P embed.cmake
#
# What it writes defines drover::api::ui_files(), declared in src/api/ui_files.h.
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
  "#include \"api/ui_files.h\"\n\nnamespace drover::api {\nnamespace {\n\n${arrays}\nconstexpr UiFile kFiles[] = {\n${entries}};\n\n"
  "}  // namespace\n\nstd::span<const UiFile> ui_files() {\n  return kFiles;\n}\n\n}  // namespace drover::api\n")
