autocmd BufNewFile,BufRead *.hlb setfiletype hlb
