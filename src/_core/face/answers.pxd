# A face without a class: its contract is answers.pyi.
