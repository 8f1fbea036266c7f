# A face without a class: its contract is end_bodies.pyi.
