using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using CsCheck;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Native;

/// <summary>Two lists and sixteen nodes against two <see cref="List{T}"/>.</summary>
public sealed class ListHeadsTests
{
    private const int Nodes = 16;
    private const int Lists = 2;

    [Fact]
    public void Any_sequence_of_operations_leaves_the_lists_that_a_model_has() =>
        Gen.Select(Gen.Int[0, 4], Gen.Int[0, Nodes - 1], Gen.Int[0, Nodes + Lists - 1]).Array[1, 80].Sample(Replay, iter: 3000);

    [Fact]
    public unsafe void A_head_is_empty_after_init_and_again_after_its_only_node_left()
    {
        ListHead head, node;
        ListHeads.Init(&head);
        Assert.True(ListHeads.IsEmpty(&head));
        ListHeads.AddHead(&node, &head);
        Assert.False(ListHeads.IsEmpty(&head));
        Assert.True(head.Next == &node && head.Prev == &node && node.Next == &head && node.Prev == &head);
        ListHeads.Remove(&node);
        Assert.True(ListHeads.IsEmpty(&head));
        Assert.True(head.Prev == &head);
        Assert.True(node.Next is null && node.Prev is null);
    }

    [Fact]
    public unsafe void A_place_that_is_on_no_list_and_a_node_whose_neighbours_left_it_are_assertions_in_debug_builds()
    {
#if DEBUG
        ListHead node = default;
        ListHead* nodes = stackalloc ListHead[3];
        ListHeads.Init(&nodes[0]);
        ListHeads.Init(&nodes[1]);
        ListHeads.AddTail(&nodes[2], &nodes[0]);
        nodes[0].Next = &nodes[0];
        nint linked = (nint)(&nodes[2]), loose = (nint)(&node);
        Assert.ThrowsAny<Exception>(() => ListHeads.Remove((ListHead*)linked));
        Assert.ThrowsAny<Exception>(() => ListHeads.AddBefore((ListHead*)loose, (ListHead*)linked));
        Assert.True(nodes[2].Next == &nodes[0] && nodes[2].Prev == &nodes[0]);
#else
        Assert.Skip("the assertion is compiled into debug builds only");
#endif
    }

    private static unsafe void Replay((int Operation, int Node, int Place)[] steps)
    {
        ListHead* memory = (ListHead*)NativeMemory.AllocZeroed(Nodes + Lists, (nuint)sizeof(ListHead));
        try
        {
            List<int>[] model = [[], []];
            for (int i = 0; i < Lists; i++)
            {
                ListHeads.Init(memory + Nodes + i);
            }
            foreach ((int operation, int node, int place) in steps)
            {
                Step(memory, model, operation, node, place);
                Compare(memory, model);
            }
        }
        finally
        {
            NativeMemory.Free(memory);
        }
    }

    /// <summary>A node that is linked is removed first; a place that is not linked stands for the first list's head.</summary>
    private static unsafe void Step(ListHead* memory, List<int>[] model, int operation, int node, int place)
    {
        if (model.FirstOrDefault(list => list.Remove(node)) is not null)
        {
            ListHeads.Remove(memory + node);
            Assert.True(memory[node].Next is null && memory[node].Prev is null);
        }
        (int list, int index) = Locate(model, place);
        ListHead* head = memory + Nodes + list;
        ListHead* at = index < 0 ? head : memory + place;
        switch (operation)
        {
            case 0:
                ListHeads.AddHead(memory + node, head);
                model[list].Insert(0, node);
                break;
            case 1:
                ListHeads.AddTail(memory + node, head);
                model[list].Add(node);
                break;
            case 2:
                ListHeads.AddAfter(memory + node, at);
                model[list].Insert(index + 1, node);
                break;
            case 3:
                ListHeads.AddBefore(memory + node, at);
                model[list].Insert(index < 0 ? model[list].Count : index, node);
                break;
            default:
                break;
        }
    }

    private static (int List, int Index) Locate(List<int>[] model, int place)
    {
        for (int list = 0; list < Lists; list++)
        {
            int index = model[list].IndexOf(place);
            if (index >= 0 || place == Nodes + list)
            {
                return (list, index);
            }
        }
        return (0, -1);
    }

    private static unsafe void Compare(ListHead* memory, List<int>[] model)
    {
        for (int list = 0; list < Lists; list++)
        {
            ListHead* head = memory + Nodes + list;
            List<int> forward = [], backward = [];
            for (ListHead* node = head->Next; node != head && forward.Count <= Nodes; node = node->Next)
            {
                forward.Add((int)(node - memory));
            }
            for (ListHead* node = head->Prev; node != head && backward.Count <= Nodes; node = node->Prev)
            {
                backward.Insert(0, (int)(node - memory));
            }
            Assert.Equal(model[list], forward);
            Assert.Equal(model[list], backward);
            Assert.Equal(model[list].Count == 0, ListHeads.IsEmpty(head));
        }
    }
}
