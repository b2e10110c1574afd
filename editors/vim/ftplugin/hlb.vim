setlocal commentstring=#\ %s noexpandtab tabstop=4 shiftwidth=4
if executable("hlb")
  setlocal formatprg=hlb\ fmt
endif
