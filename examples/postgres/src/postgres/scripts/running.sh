! postmaster > /dev/null || echo yes
