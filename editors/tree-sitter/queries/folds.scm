[(block) (parameters) (arguments) (heredoc) (raw_heredoc)] @fold
